"""Rows of endpoints' specs: what people asked for, what automations set, history, aliases and shadows."""
