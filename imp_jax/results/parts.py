"""A report in parts: what fails is named, and the rest is written."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pandas as pd

from imp_jax.core.store import Store

T = TypeVar("T")


class Unavailable(Exception):
  """A part needs another that could not be made and is reported already."""


class Parts:
  """Writes a study's tables and figures one by one; none costs another.

  Attributes:
    store, study, folder: where they go.
    failed: what could not be made, a line each.
    charts: that were drawn, by name, and each as SVG.
  """

  def __init__(self, store: Store, study: str, *, draws: bool = True):
    """Has made nothing yet.

    Args:
      store, study: as above.
      draws: whether figures are written; else they are kept as charts alone.
    """
    self.store, self.study = store, study
    self.folder = store.study_dir(study)
    self.failed: list[str] = []
    self.charts: dict[str, tuple[Any, bytes]] = {}
    self._draws, self._cannot_draw = draws, False

  @contextlib.contextmanager
  def attempt(self, name: str) -> Iterator[None]:
    """Keeps a failure of the block from the rest of the report, and names it.

    Args:
      name: of the part, for the user.
    """
    try:
      yield
    except Unavailable:
      pass  # for want of a part that is named already
    except Exception as error:  # whatever a library raises at odd data
      reason = " ".join(str(error).split()) or type(error).__name__
      self.failed.append(
        f"{name} of study {self.study} is left out of its report: {reason}"
      )

  def text(self, name: str, make: Callable[[], str]) -> None:
    """Writes a file of text."""
    with self.attempt(name):
      self.store.write_text(self.folder / name, make())

  def table(
    self, name: str, make: Callable[[], pd.DataFrame]
  ) -> pd.DataFrame | None:
    """Writes NAME.csv; returns the table, or None if it cannot be made."""
    table = None
    with self.attempt(f"{name}.csv"):
      table = make()
      self.store.write_text(
        self.folder / f"{name}.csv", table.to_csv(index=False)
      )
    return table

  def figure(self, name: str, make: Callable[[], Any]) -> None:
    """Writes NAME.png and NAME.svg; no figure where there is none to draw.

    Args:
      name: of the files.
      make: returns a chart, or None.
    """
    if not self._draws:
      with self.attempt(name):
        if (chart := make()) is not None:
          self.charts[name] = chart, b""
      return
    if self._cannot_draw:
      return
    try:
      from imp_jax.results.charts.drawing import png_and_svg
    except ImportError as error:
      self._cannot_draw = True
      self.failed.append(
        f"the figures of study {self.study} are left out of its report: {error}"
      )
      return
    with self.attempt(f"{name}.png"):
      chart = make()
      if chart is not None:
        png, svg = png_and_svg(chart)
        self.store.write_bytes(self.folder / f"{name}.png", png)
        self.store.write_bytes(self.folder / f"{name}.svg", svg)
        self.charts[name] = chart, svg

  def made(self, name: str, make: Callable[[], T]) -> T | None:
    """Returns what a function makes, or None if it fails."""
    value: Any = None
    with self.attempt(name):
      value = make()
    return value
