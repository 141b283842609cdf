"""What was captured, as people ask for it: queries, settings, forgetting."""
