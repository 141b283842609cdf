"""Alerts: what monitors' results make of them, who is told, what is done, and what people say to that."""
