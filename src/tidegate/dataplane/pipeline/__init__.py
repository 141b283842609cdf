"""A prediction from its bytes to its answer, the same for every protocol: access, limits, counts."""
