"""gRPC over our HTTP/2: messages, predictions, health and reflection."""
