"""Whether studies in tests paint their figures: most of what some take."""

import contextlib

from imp_jax.results.figures import accuracy as drawing

_save = drawing.save_figure


@contextlib.contextmanager
def painting(painted):
  """Studies make their figures all the same; they are painted, or not."""
  before = drawing.save_figure
  drawing.save_figure = _save if painted else lambda *_: None
  try:
    yield
  finally:
    drawing.save_figure = before
