"""Results of a workdir, for a notebook: tables and tickets."""

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

from imp_jax.data.augment import normalise
from imp_jax.masks import apply_masks, init_masks, unpack_masks
from imp_jax.models import make_model
from imp_jax.report.tables import load_entries
from imp_jax.store import Store

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


class Results:
  """One study of a workdir, read from storage."""

  def __init__(self, store: Store, study: str):
    self._store, self.study = store, study
    self._entries = {e.key: e for e in load_entries(store, study)}

  @functools.cached_property
  def table(self) -> pd.DataFrame:
    """results.csv: one row per experiment, replicate, level and metric."""
    return self.read_table("results")

  def read_table(self, name: str) -> pd.DataFrame:
    """Returns a table of the study as a DataFrame.

    Args:
      name: "results", "experiments", "layers", "curves" or "matching".
    """
    file = self._store.study_dir(self.study) / f"{name}.csv"
    # Names are text, whatever they look like: "20", "null".
    texts = ("study", "experiment", "layer", "variant", "steps_tried")
    types: Any = dict.fromkeys(texts, str)
    types["smallest_matching_step"] = "Int64"  # missing where none matches
    return pd.read_csv(
      io.StringIO(file.read_text()),
      dtype=types,
      keep_default_na=False,
      na_values=[""],
    )

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
      kind: "imp", or a control: "random_mask", "reinit".

    Raises:
      KeyError: the study has no such ticket; the message says what it has.
      StoreError: it is planned but not finished, or damaged.
    """
    entry = self._entries.get((experiment, kind, level, replicate))
    if entry is None:
      known = sorted({(e, k) for e, k, _, _ in self._entries})
      raise KeyError(
        f"no ticket {(experiment, kind, level, replicate)} in study "
        f"{self.study}; (experiment, kind) are {known}"
      )
    trained = self._store.load(entry.train)
    record, tree = trained.record, trained.tree
    assert tree is not None  # a trained network, by construction
    model, stream = record["settings"]["model"], record["settings"]["stream"]
    classes = tree["params"]["head"]["bias"].shape[0]

    def apply(params, batch_stats, inputs):
      network = make_model(
        model["name"],
        num_classes=classes,
        input_shape=inputs.shape[1:],
        width=model["width"],
        bn_scale_init=model["bn_scale_init"],
        dtype=model["dtype"],
      )
      x = normalise(jnp.asarray(inputs), stream["mean"], stream["std"])
      params, batch_stats = jax.tree.map(jnp.asarray, (params, batch_stats))
      return network.apply(params, batch_stats, x)

    masks = jax.device_get(init_masks(tree["params"]))
    if entry.masks:
      packed = self._store.load(entry.masks).arrays
      assert packed is not None
      masks = unpack_masks(packed, tree["params"])
    start = self._store.load(record["inputs"]["weights"]).tree
    assert start is not None
    return LoadedTicket(
      params=apply_masks(start["params"], masks),
      batch_stats=start["batch_stats"],
      masks=masks,
      trained_params=tree["params"],
      trained_batch_stats=tree["batch_stats"],
      metrics=record["metrics"],
      record=record,
      apply=apply,
    )


def load(workdir: str, study: str | None = None) -> Results:
  """Returns the results of a workdir's study.

  Args:
    workdir: a local path or a bucket.
    study: its name; may be left out where there is only one.

  Raises:
    FileNotFoundError: no such study, or several and none was named.
  """
  from etils import epath

  folder = epath.Path(workdir).expanduser() / "studies"
  names = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
  if study is None and len(names) == 1:
    study = names[0]
  if study not in names:
    raise FileNotFoundError(
      f"{workdir} has {'no study' if study is None else 'no study ' + study}; "
      f"it has: {', '.join(names) or 'none'}"
    )
  return Results(Store(workdir, writable=False), study)
