"""Which examples to train on, and how they are scored: options and settings."""

import dataclasses
from typing import Any, ClassVar

from imp_jax.core.options import option
from imp_jax.core.ranges import (
  between,
  choice,
  duration,
  flag,
  several,
  text,
  whole,
)
from imp_jax.data.subsets import KINDS
from imp_jax.scores.registry import SCORES
from imp_jax.scores.streams import NEVER_LEARNED

FROM_FILE = "file"  # in place of a score's name: the one in scores.file


@dataclasses.dataclass(frozen=True)
class SubsetSettings:
  """Which examples to train on; see `subsets.keep_indices`.

  Attributes:
    score: "" where none orders them.
    content: hash of a given keep list, "" if there is none.
  """

  NAME: ClassVar[str] = "subset"

  kind: str = option("all", choice(KINDS), "which examples")
  size: int = option(0, whole(0), "examples")
  score: str = option(
    "el2n",
    choice((*SCORES, FROM_FILE)),
    "orders the examples; file: that in scores.file",
  )
  offset: int = option(0, whole(0), "examples skipped at the easy or hard end")
  balanced: bool = option(False, flag, "size // classes of each class")
  drop_hardest: float = option(0.0, between("[0", "1)"), "fraction, of ccs")
  file: str = option(
    "", text, "of keep_list: .npy or .csv, source positions", where=True
  )
  content: str = ""


ALL_EXAMPLES = SubsetSettings(score="")


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
  """How scoring networks are trained, and when they are looked at."""

  compute: tuple[str, ...] = option(
    (), several(choice(SCORES)), "also these, for the report"
  )
  file: str = option(
    "", text, "or scores from a .npy or .csv with its record beside it"
  )
  networks: int = option(
    10, whole(1, 10_000), "trained independently; the score is their mean"
  )
  steps: Any = option(
    "300step", duration, "of their training, for scores that watch it"
  )
  at_steps: tuple[Any, ...] = option(
    (), several(duration), "the others look here; () = at scores.steps"
  )
  bn_mode: str = option(
    "eval",
    choice(("eval", "batch")),
    "batch: BatchNorm in training mode, of el2n",
  )
  observe: str = option(
    "evaluation", choice(("evaluation", "presentation")), "by streams"
  )
  every: Any = option("1ep", duration, "between two evaluations of a stream")
  never_learned: str = option(
    "inf", choice(NEVER_LEARNED), "its score, in forgetting"
  )
  window: int = option(10, whole(2, 10_000), "observations: of tdds and dual")
  checkpoints: int = option(10, whole(2, 1000), "of vog")
  rewind_step: Any = option("0step", duration, "of barrier: t_r of the parents")


@dataclasses.dataclass(frozen=True)
class ImportSettings:
  """Scores from a file: their content's hash and what its record says."""

  NAME: ClassVar[str] = "scores_file"

  name: str
  fingerprint: str
  content: str
  larger_is_harder: bool
