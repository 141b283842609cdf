"""The Python SDK: a thin client of the control plane's REST API."""
