"""Kubernetes: how a cluster is found and spoken to, over urllib3, and the engine of replicas on it."""
