"""Heavy work: the pool that runs job rows, and the job functions."""
