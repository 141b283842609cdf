"""AWS as the adapter of ECS needs it: a server that boto3 speaks to, and a cluster whose tasks are real replicas."""
