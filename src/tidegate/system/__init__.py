"""What the operating system is asked for: files written whole, locks, processes, sockets. Knows nothing of models."""
