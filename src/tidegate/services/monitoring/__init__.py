"""Is a model still what it was? Baselines, evaluations of captured rows against them, and what was found."""
