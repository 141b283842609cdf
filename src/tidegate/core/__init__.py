"""Decisions: pure functions of (spec, observed, now). No I/O, no framework, no clock of their own."""
