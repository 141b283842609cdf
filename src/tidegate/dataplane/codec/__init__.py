"""Bytes and Python values into tensors that fit a signature, and back. Knows no request and no server."""
