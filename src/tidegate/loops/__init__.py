"""What is repeated until the world agrees with the spec."""
