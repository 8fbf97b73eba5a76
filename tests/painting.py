"""Whether studies in tests paint their figures: most of what some take."""

import contextlib

from imp_jax.report import parts

_save = parts.save_figure


@contextlib.contextmanager
def painting(painted):
  """Studies make their figures all the same; they are painted, or not."""
  before = parts.save_figure
  parts.save_figure = _save if painted else lambda *_: None
  try:
    yield
  finally:
    parts.save_figure = before
