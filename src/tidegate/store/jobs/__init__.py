"""Rows of jobs and of uploads."""
