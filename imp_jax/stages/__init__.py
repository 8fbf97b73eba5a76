"""What is trained, pruned, scored, evaluated: each stage whole in its file."""
