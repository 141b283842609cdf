"""Counts of the gateway processes of one host, added up and kept."""
