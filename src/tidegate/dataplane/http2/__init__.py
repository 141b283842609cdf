"""HTTP/2, the server's side of it, as much as gRPC needs: frames, headers, flow control, shares of work."""
