"""One file per outside system. Independent of one another and of the store."""
