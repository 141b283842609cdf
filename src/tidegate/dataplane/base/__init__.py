"""What every room of the data plane stands on: tensors, bounds, steps and turns of the event loop, incidents."""
