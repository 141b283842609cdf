"""`experiment`: versions beside one another on units that stay where they are."""
