"""Loops that keep processes running beside the control plane: gateways and compactor."""
