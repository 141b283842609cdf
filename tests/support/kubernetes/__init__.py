"""A cluster for tests: an API server as the real one answers, whose pods are real processes of this machine."""
