"""Which version answers a request, and at which address a replica of it is reached."""
