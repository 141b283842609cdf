"""Heavy work: a job row in the store is the truth, the pool only runs it."""
