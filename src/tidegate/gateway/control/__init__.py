"""A gateway's traffic with the control plane: routing snapshots in; load, outcomes, lost replicas and wake-ups out."""
