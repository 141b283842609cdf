"""The routes, by subject. Each only reads the request, calls one service and names the status."""
