"""The compactor's process: what gateways recorded becomes Parquet, a sealed segment at a time."""
