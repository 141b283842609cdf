"""Rows of models, their versions, and images that were pushed of them."""
