"""The capture store as the control plane reaches it: rows as numpy columns, queries in a subprocess, the compactor."""
