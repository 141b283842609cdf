"""Rows of alerts, rules, silences and notifiers, and the outbox of what is sent."""
