"""Model packages as files."""
