"""Fetches a version's files from the control plane before its replica starts, where an engine runs both elsewhere."""
