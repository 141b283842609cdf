"""Rows of experiments, canaries and guards, and of what they came to."""
