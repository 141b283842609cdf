"""What a reconciler does for one endpoint: facts, plan, failures, status."""
