"""What gateways have in common through Redis: a response cache, and limits on how often a client may ask."""
