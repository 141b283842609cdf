"""Images of versions: asked for by people, or needed by an engine."""
