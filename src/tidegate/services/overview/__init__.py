"""The platform and its endpoints at a glance: status, metrics, performance. Reads; never writes."""
