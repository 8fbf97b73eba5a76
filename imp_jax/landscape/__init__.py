"""The loss landscape between networks: paths, planes, distances, curvature."""
