"""A replica as the gateway reaches it: connections, and batches written to and read from them."""
