"""The capture store: what gateways recorded, as Parquet. Needs pyarrow; knows the journal's format and nothing else."""
