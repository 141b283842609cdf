"""Endpoints as manifests of other engines: what is to run, its objects, and their text. Pure."""
