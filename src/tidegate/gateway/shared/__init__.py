"""What gateways have in common through Redis: answers that are kept, and limits on how often a client may ask."""
