"""Verbs about what was captured."""
