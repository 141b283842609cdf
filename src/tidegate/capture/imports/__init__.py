"""Files of rows that were predicted elsewhere, as captured rows: read, held to capture rules, written."""
