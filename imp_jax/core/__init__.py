"""The graph, its storage and identities, keys, masks and files.

Imports nothing of the package.
"""
