"""What was predicted, recorded: the journal, its segments, and who is told when a batch was computed."""
