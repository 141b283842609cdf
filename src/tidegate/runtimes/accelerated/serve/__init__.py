"""Serves an accelerated form without the original's framework."""
