"""The control plane's process: 'python -m tidegate.control'."""
