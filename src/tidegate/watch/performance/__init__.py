"""Did a model get worse? Bounded losses, metrics that people know, and estimates without labels."""
