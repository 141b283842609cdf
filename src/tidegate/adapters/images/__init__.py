"""What an image is built from, and what is kept of it."""
