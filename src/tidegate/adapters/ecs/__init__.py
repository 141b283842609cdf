"""AWS ECS: replicas as tasks of services, on Fargate or on instances of a cluster."""
