"""The autoscaler's loop, and the CPU samples it goes by."""
