"""Commands on endpoints: deploy, change, scale, look."""
