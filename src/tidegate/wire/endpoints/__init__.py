"""The REST shapes of endpoints beside `wire.rest`: as documents, followed aliases, scaling, tags."""
