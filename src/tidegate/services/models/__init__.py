"""Models and versions: listed, trusted, aliased, taken in, deleted; where their files lie."""
