"""Canaries, and the guard of a deployment: what people ask of them, and what the loop has them do."""
