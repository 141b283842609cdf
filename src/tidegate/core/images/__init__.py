"""What an image of a version is made of."""
