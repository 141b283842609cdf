"""Tests of experiments, canaries and shadows that are valid at every look. Called by services; numbers in, views out.

Rooms: `units` (what is analysed), `strata`, `means`, `ratio`, `exact`, `quantiles` (the methods), `sample_ratio`,
`analysis` and `decision` (an experiment's look), `guard` (canaries), `paired` (shadows), `planning` (before a start).
"""
