"""Processes that run a model's code: confined, under users of their own, and what they leave."""
