"""Figures: the only folder that imports matplotlib, and only when drawing."""
