"""One model of each framework, behind the same protocol. Frameworks are imported when the first of theirs is loaded."""
