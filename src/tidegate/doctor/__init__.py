"""`tidegate doctor`: looks at every part that is configured, changes nothing, and says what to do."""
