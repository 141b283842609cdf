"""What gateways and the control plane say to each other: snapshot, decisions, load, reports, ID tokens."""
