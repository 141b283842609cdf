"""One edge for each protocol: it decodes into a call and encodes the answer, nothing else."""
