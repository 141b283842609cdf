"""A call on its way: what it asks, the version it goes to, what its answer is."""
