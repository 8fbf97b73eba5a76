"""The graph, its identities and storage; options, keys, masks, files.

It may import nothing of the package.
"""
