"""Experiments, as far as they need neither rows nor statistics: what people write, and which states follow which."""
