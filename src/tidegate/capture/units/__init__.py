"""From captured rows to units of an experiment: `gather.units` is what others call. Pure but for what the store reads.

Memory goes with the number of units and of feedback events, and one day of calls; never with all calls.
"""
