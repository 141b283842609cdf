"""Tests of experiments, canaries and shadows that are valid at every look. Called by services; numbers in, views out.

Rooms: `units` (what is analysed); `means`, `strata` (over phases; ratios and covariates too), `exact`, `quantiles` (the
methods); `evidence` (which of them); `sample_ratio`, `analysis`, `decision` (an experiment's look); `guard` (canaries);
`paired` (shadows); `planning` (before a start); `words`.
"""
