"""Docker: its API, replicas as containers, and builds of images."""
