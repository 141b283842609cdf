"""Rows of what runs for endpoints, and of endpoints as the loops read them each pass."""
