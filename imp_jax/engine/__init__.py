"""What runs a graph: scheduler, executor, trainer, the replicate axis.

Imports core and pure folders.
"""
