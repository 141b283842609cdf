"""Endpoints as documents: made so in one transaction, and written down as they are."""
