"""What two processes say to each other: structures without I/O, and the files of the capture journal."""
