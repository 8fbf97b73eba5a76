"""Sweeps: files whose get_sweep() returns experiments to add to a study."""
