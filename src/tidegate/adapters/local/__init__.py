"""This machine: replicas as processes, and how processes and sockets of it are looked after."""
