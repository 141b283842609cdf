"""Rows found and shown: what use cases read before they write, and what clients see of it."""
