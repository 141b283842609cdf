"""What a model takes and answers: declared, found in its schema or its code, or tried out with rows."""
