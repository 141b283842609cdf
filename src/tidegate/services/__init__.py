"""Use cases of the control plane, one transaction each. Called by API, jobs and loops; no HTTP here."""
