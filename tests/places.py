"""Where files are that tests read."""

import pathlib

ROOT = pathlib.Path(__file__).parent.parent  # of the repository
GOLDENS = pathlib.Path(__file__).parent / "goldens"
