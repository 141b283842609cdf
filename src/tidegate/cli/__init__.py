"""The command line: a thin client of the control plane's REST API."""
