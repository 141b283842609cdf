"""The database behind the tables: opened, migrated, backed up; what of it is PostgreSQL's own."""
