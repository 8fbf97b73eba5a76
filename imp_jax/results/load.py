"""Results of a workdir, for a notebook: tables and tickets."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from imp_jax.core.buckets import exists
from imp_jax.core.index import SCORE, Entry, study_names
from imp_jax.core.masks import apply_masks, init_masks, unpack_masks
from imp_jax.core.store import Store
from imp_jax.data.dataset import Dataset
from imp_jax.data.study_data import load_study_data
from imp_jax.models import make_model
from imp_jax.results.tables import Tables
from imp_jax.results.tickets import parts_of

PyTree = Any


@dataclasses.dataclass(frozen=True)
class LoadedTicket:
  """A lottery ticket and the network it trained to.

  Attributes:
    params, batch_stats: the ticket: its masked starting weights.
    masks: True = kept.
    trained_params, trained_batch_stats: after training.
    metrics: {split: {"loss", "accuracy", "count"}} after training.
    record: the artefact's whole record.
    apply: (params, batch_stats, inputs) -> float32 logits [batch, classes];
      inputs as in the data set (uint8 images, float32 signals), normalised
      inside.
  """

  params: PyTree
  batch_stats: PyTree
  masks: PyTree
  trained_params: PyTree
  trained_batch_stats: PyTree
  metrics: dict[str, dict[str, float]]
  record: dict[str, Any]
  apply: Callable[[PyTree, PyTree, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class LoadedScores:
  """A score of every training example, and what it is.

  Attributes:
    values: float32[examples] in canonical order, that of `load_dataset`.
    record: definition, networks, fingerprint, reliability, ...
  """

  values: np.ndarray
  record: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LoadedPath:
  """Loss and error on a straight path between two networks.

  Attributes:
    curves: {split: {batch_stats: {"alpha", "loss", "error"}}}, lists.
    examples: per-example arrays by (split, batch_stats, what), in canonical
      order: what = "midpoint", "rise_above_mean" or "rise_above_line" (f32, the
      barrier of the example's loss in nats) or "right_throughout" (bool).
    apart: distance, relative_distance, sign_agreement of the ends.
    record: the artefact's whole record.
  """

  curves: dict[str, dict[str, dict[str, list[float]]]]
  examples: dict[tuple[str, ...], np.ndarray]
  apart: dict[str, float]
  record: dict[str, Any]


class Results:
  """One study of a workdir, read from storage.

  Attributes:
    study: its name.
    tables: its results so far, each table made when it is asked for.
  """

  def __init__(self, store: Store, study: str):
    """Reads the study's index.

    Raises:
      OSError, ValueError: it is damaged, or another version's.
    """
    self._store, self.study = store, study
    self.tables = Tables(store, study)
    self._entries = {e.key: e for e in self.tables.index}

  @property
  def table(self) -> pd.DataFrame:
    """One row per experiment, replicate, level and metric: results.csv."""
    return self.tables.get("results")

  @property
  def has_failures(self) -> bool:
    """Whether a replicate failed in the last run, as failures.txt tells."""
    return exists(self._store.study_dir(self.study) / "failures.txt")

  def has_table(self, name: str) -> bool:
    """Returns whether the study has such a table; see `read_table`."""
    return name in self.tables.names

  def read_table(self, name: str) -> pd.DataFrame:
    """Returns a table of the study as a DataFrame.

    Args:
      name: "results", "verdicts", "experiments", "layers", "curves",
        "matching", "smallest_density", "reliability", "geometry", "barriers",
        "paths", "instability", "landscape", "predictors" or "curvature".
    """
    return self.tables.get(name)

  def dataset(self) -> Dataset:
    """Returns the study's data, read again, in canonical order.

    `train.source_index` says where each example stands in its source, so
    `dataset.train.source_index[results.keep_index("easy-20")]` are rows of it.

    Raises:
      OSError, ValueError: the data are not there any more, or are others.
    """
    meaning = self.tables.meaning
    data = load_study_data(meaning["data"], meaning["seed"])
    for name, settings in meaning["experiments"].items():
      if settings["trunk"]["stream"]["fingerprint"] != data.fingerprint:
        raise ValueError(
          f"the data of {self.study} are not there any more: those that are "
          f"now have other examples than experiment {name} was trained on"
        )
    return data

  def scores(self, name: str) -> LoadedScores:
    """Returns one of the study's scores.

    Raises:
      KeyError: the study has no such score; the message says what it has.
      StoreError: it is planned but not finished, or damaged.
    """
    ids = {e.between: e.ids[SCORE] for e in self._of_role(SCORE)}
    if name not in ids:
      raise KeyError(
        f"no score {name!r} in study {self.study}; it has: "
        f"{', '.join(ids) or 'none'}"
      )
    artefact = self._store.load(ids[name])
    assert artefact.arrays is not None  # scores, by construction
    return LoadedScores(artefact.arrays["scores"], artefact.record)

  def path(
    self,
    experiment: str,
    *,
    kind: str = "children",
    level: int = 0,
    between: str = "0-1",
    replicate: int = 0,
  ) -> LoadedPath:
    """Returns one path that the study evaluated.

    Args:
      experiment: its name.
      kind, level, between: as in barriers.csv, where `between` is "pair".
      replicate: from 0.

    Raises:
      KeyError: the study has no such path; the message says what it has.
      StoreError: it is planned but not finished, or damaged.
    """
    entries = self._of_role("path")
    place = (experiment, kind, level, between, replicate)
    entry = {e.key: e for e in entries}.get(place)
    if entry is None:
      known = sorted({e.key[:4] for e in entries})
      raise KeyError(
        f"no path {place} in study {self.study}; (experiment, kind, level, "
        f"between) are {known}"
      )
    artefact = self._store.load(entry.ids["path"])
    assert artefact.arrays is not None  # a path, by construction
    return LoadedPath(
      curves=artefact.record["paths"],
      examples={
        tuple(name.split(".")): array for name, array in artefact.arrays.items()
      },
      apart=artefact.record["apart"],
      record=artefact.record,
    )

  def keep_index(self, experiment: str, *, replicate: int = 0) -> np.ndarray:
    """Returns the examples that one replicate was pre-trained on.

    Args:
      experiment: its name.
      replicate: from 0.

    Returns:
      Ascending indices into the training examples in canonical order; none
      where there was no pre-training.

    Raises:
      KeyError: the study has no such experiment or replicate.
      StoreError: its pre-training is not finished, or damaged.
    """
    entry = self._entry(experiment, "imp", 0, replicate)
    artefact = self._store.load(entry.ids["pretrain"])
    if artefact.arrays:
      return artefact.arrays["keep_index"]
    return np.arange(artefact.record["examples"], dtype=np.int32)

  def ticket(
    self,
    experiment: str,
    *,
    level: int,
    replicate: int = 0,
    kind: str = "imp",
  ) -> LoadedTicket:
    """Returns one ticket.

    Args:
      experiment: its name.
      level: of IMP, 0 = dense.
      replicate: from 0.
      kind: "imp", or a control, a name of `CONTROLS`.

    Raises:
      KeyError: the study has no such ticket; the message says what it has.
      StoreError: it is planned but not finished, or damaged.
    """
    entry = self._entry(experiment, kind, level, replicate)
    trained = self._store.load(entry.ids["train"])
    record, tree = trained.record, trained.tree
    assert tree is not None  # a trained network, by construction
    model = record["settings"]["model"]
    classes = tree["params"]["head"]["bias"].shape[0]

    def apply(
      params: PyTree, batch_stats: PyTree, inputs: jax.Array | np.ndarray
    ) -> jax.Array:
      network = make_model(
        model["name"],
        num_classes=classes,
        input_shape=inputs.shape[1:],
        width=model["width"],
        bn_scale_init=model["bn_scale_init"],
        dtype=model["dtype"],
        mean=model["mean"],
        std=model["std"],
      )
      params, batch_stats = jax.tree.map(jnp.asarray, (params, batch_stats))
      return network.apply(params, batch_stats, jnp.asarray(inputs))

    masks = init_masks(tree["params"])
    if "masks" in entry.ids:
      packed = self._store.load(entry.ids["masks"]).arrays
      assert packed is not None
      masks = unpack_masks(packed, tree["params"])
    first = parts_of(self._store, entry)[0]
    start = self._store.load(first["inputs"]["weights"]).tree
    assert start is not None
    return LoadedTicket(
      params=apply_masks(start["params"], masks),
      batch_stats=start["batch_stats"],
      masks=masks,
      trained_params=tree["params"],
      trained_batch_stats=tree["batch_stats"],
      metrics=self._store.load_record(entry.ids["metrics"])["metrics"],
      record=record,
      apply=apply,
    )

  def _of_role(self, role: str) -> list[Entry]:
    return [e for e in self._entries.values() if role in e.ids]

  def _entry(
    self, experiment: str, kind: str, level: int, replicate: int
  ) -> Entry:
    entry = self._entries.get((experiment, kind, level, "", replicate))
    if entry is None or "train" not in entry.ids:
      tickets = self._of_role("train")
      known = sorted({(e.experiment, e.kind) for e in tickets})
      raise KeyError(
        f"no ticket {(experiment, kind, level, replicate)} in study "
        f"{self.study}; (experiment, kind) are {known}"
      )
    return entry


def load(
  workdir: str, study: str | None = None, *, writable: bool = False
) -> Results:
  """Returns the results of a workdir's study.

  Args:
    workdir: a local path or a bucket.
    study: its name; may be left out where there is only one.
    writable: whether a report of it is to be written.

  Raises:
    FileNotFoundError: no such study, or several and none was named.
  """
  store = Store(workdir, writable=False)
  names = study_names(store)
  if study is None and len(names) == 1:
    study = names[0]
  if study not in names:
    known = ", ".join(names)
    if study is None and names:
      raise FileNotFoundError(
        f"{workdir} has several studies, name one (--study, or load's study): "
        f"{known}"
      )
    raise FileNotFoundError(
      f"{workdir} has {'no study' if study is None else 'no study ' + study}; "
      f"it has: {known or 'none'}"
    )
  return Results(Store(workdir) if writable else store, study)
