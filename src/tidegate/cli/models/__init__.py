"""Commands on models and their versions."""
