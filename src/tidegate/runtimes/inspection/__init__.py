"""What the job that takes a version in does: load it, find its signature, score it on validation data."""
