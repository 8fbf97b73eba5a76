"""What is trained, pruned, scored and evaluated, each stage whole in its file.

It may import the engine and what lies below.
"""
