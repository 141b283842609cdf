"""`predict`, and the rows of files that it reads."""
