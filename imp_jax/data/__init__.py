"""Data: sources to device arrays, batch plans, augmentation."""
