"""What a replica is started with and asked for: manifest, package, key, logs."""
