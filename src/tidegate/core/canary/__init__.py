"""Decisions about a version that takes over in steps (a canary), or that was given all traffic at once (a guard).

Pure: facts and time in, what to do out. `services.canaries` gathers the facts and does it.
"""
