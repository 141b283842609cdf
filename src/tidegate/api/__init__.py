"""The control plane's REST edge."""
