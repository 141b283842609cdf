"""The replica: one process, one model version."""
