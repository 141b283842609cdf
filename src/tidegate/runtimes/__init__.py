"""Loaders, one per framework. Imported only by replicas and by job subprocesses: loading a model runs its code."""
