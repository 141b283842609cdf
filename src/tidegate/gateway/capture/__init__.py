"""Capture of predictions: the observer that hands batches and failures on, the journal, and its segment files."""
