"""How many replicas a version has: what people ask for, what load says, and the decision."""
