"""Calls of one version put together, handed to its replicas, and taken apart again."""
