"""Captured predictions in the REST API: settings, queries, imports, and feedback as clients write it."""
