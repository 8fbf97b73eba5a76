"""The loss landscape between networks: paths, planes, distances, curvature.

It may import core, data, statistics, models and training.
"""
