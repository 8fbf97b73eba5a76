"""Whether studies in tests paint their figures: most of what some take."""

import contextlib
from unittest import mock

from imp_jax.results.charts import drawing

# What takes long, and what stands for it.
_NOTHING = {
  "png_and_svg": lambda chart: (b"", b"<svg></svg>"),
  "spec_of": lambda chart, link=None: {},
  "library": str,
}
_ALL = {name: getattr(drawing, name) for name in _NOTHING}


@contextlib.contextmanager
def painting(painted):
  """Studies make their charts all the same; they are painted, or not."""
  with mock.patch.multiple(drawing, **(_ALL if painted else _NOTHING)):
    yield
