"""Did a distribution move? By how much at least, p-values, rare and missing values, repeated rows."""
