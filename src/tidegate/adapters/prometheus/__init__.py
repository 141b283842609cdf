"""Prometheus: its HTTP API, and what the platform's own metrics there say of an endpoint."""
