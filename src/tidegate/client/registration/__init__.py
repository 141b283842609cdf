"""From what a user has in hand to a version: objects saved, files uploaded."""
