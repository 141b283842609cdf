"""What the benchmark scripts share: processes, load, models and tables. Nothing here is part of the product."""
