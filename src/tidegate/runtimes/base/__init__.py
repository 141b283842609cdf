"""What every loaded model looks like, and how its inputs and answers are read. Framework-free."""
