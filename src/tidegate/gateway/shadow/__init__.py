"""Shadows: copies of live requests for a version whose answers are recorded and thrown away."""
