"""Tables and queries of the control plane: SQLite or PostgreSQL."""
