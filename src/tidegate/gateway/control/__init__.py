"""What a gateway hears from the control plane, and what it tells it."""
