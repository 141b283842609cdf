"""`tidegate feedback`: labels and metrics out of files."""
