"""What an endpoint is, as a document: its fields declared once, read, shown, and described as a JSON Schema. Pure."""
