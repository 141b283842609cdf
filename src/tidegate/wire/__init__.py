"""What two processes say to each other: structures only, no behaviour that needs I/O."""
