"""What runs a graph: scheduler, executor, trainer, the replicate axis.

It may import core and the pure folders, and knows no stage.
"""
