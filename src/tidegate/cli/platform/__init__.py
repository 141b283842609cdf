"""Commands on the platform: its processes, database, jobs and audit."""
