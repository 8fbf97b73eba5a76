"""Intervals, correlations and power."""
