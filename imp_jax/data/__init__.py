"""Data: sources read into arrays, batch plans, augmentation, subsets, files.

It may import core.
"""
