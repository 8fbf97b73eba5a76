"""Measurements of speed; nothing here is imported by the package."""

import os

# PyTorch, and processes that measure memory, are on the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
