"""What carries the client's calls: HTTP, or an application of the same process."""
