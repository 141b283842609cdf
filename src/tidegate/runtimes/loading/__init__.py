"""From files to a model: reads the object that a file holds, and puts it behind the protocol."""
