"""Typed calls of the REST API: paths, lists, pages. Knows no verbs."""
