"""From snapshots to the version that answers: endpoints, and a queue with its replicas for each version."""
