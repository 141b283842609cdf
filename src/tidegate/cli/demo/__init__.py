"""`demo`, and the models it shows."""
