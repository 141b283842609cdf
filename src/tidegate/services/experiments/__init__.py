"""Experiments as people run them and as the loop decides them: rows, weights, evidence and what follows from it."""
