"""The gateway: the one address clients call."""
