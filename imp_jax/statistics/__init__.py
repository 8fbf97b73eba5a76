"""Intervals, correlations and power, of plain arrays.

It may import core.
"""
