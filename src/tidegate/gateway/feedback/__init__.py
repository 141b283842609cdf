"""Feedback: labels and metrics that become known after a prediction, taken over HTTP and written to the journal."""
