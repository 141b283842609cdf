"""Predictions and pages over HTTP/1.1: the hot path on raw bytes, and one ASGI application for the rest."""
