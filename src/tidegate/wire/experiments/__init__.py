"""The REST shapes of experiments, canaries and shadows, and the units that experiments count."""
