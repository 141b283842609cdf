"""What pages about monitoring and alerts say, made of what the API answered. Pure: pages ask, templates show."""
