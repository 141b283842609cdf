"""Backend `cloudrun`: replicas as revisions of services on Google Cloud Run. Entry point: `workloads.py`."""
