"""Whether studies in tests paint their figures: most of what some take."""

import contextlib

from imp_jax.results.charts import drawing

_drawn, _library = drawing.drawn, drawing.library


def _unpainted(chart, kind, width=None):
  drawing.spec_of(chart)  # which Altair checks
  return b""


@contextlib.contextmanager
def painting(painted):
  """Studies make their figures all the same; they are painted, or not."""
  before = drawing.drawn, drawing.library
  drawing.drawn = _drawn if painted else _unpainted
  drawing.library = _library if painted else str
  try:
    yield
  finally:
    drawing.drawn, drawing.library = before
