"""What is asked of an endpoint and what is in effect: traffic, serving settings, signatures, aliases."""
