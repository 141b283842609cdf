"""What monitoring decides without statistics: which columns a model has, what settings mean. Pure."""
