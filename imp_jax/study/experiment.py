"""What a study means: its experiments, and how they are executed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imp_jax.engine.execution import ExecutionSettings
from imp_jax.probes.connectivity import ConnectivitySettings
from imp_jax.results.claims import ClaimSettings
from imp_jax.stages.control_settings import ControlSettings
from imp_jax.stages.evaluate import EvalSettings
from imp_jax.stages.score import ScoringSettings
from imp_jax.stages.trunk import Trunk


@dataclasses.dataclass(frozen=True)
class Search:
  """The experiment whose masks another one takes.

  Attributes:
    trunk: that finds them.
    curve_steps: absolute steps at which it is evaluated.
  """

  name: str
  trunk: Trunk
  curve_steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One pre-training choice and one IMP run, and what is looked at of them.

  Attributes:
    trunk: what is trained.
    search: what its masks are found by; None = by itself.
    controls, eval: what is trained beside it, and on what all is evaluated.
    probes: what is looked at around its tickets: settings by group.
  """

  name: str
  trunk: Trunk
  controls: ControlSettings
  eval: EvalSettings
  probes: Mapping[str, Any]
  search: Search | None = None


@dataclasses.dataclass(frozen=True)
class Parents:
  """The networks whose children's barriers are a score.

  Attributes:
    trunk: that makes them, dense.
    curve_steps: absolute steps at which they are evaluated, as an experiment's
      are, so that they are the same networks.
    children: which, and how they are joined.
  """

  trunk: Trunk
  curve_steps: tuple[int, ...]
  children: ConnectivitySettings


@dataclasses.dataclass(frozen=True)
class Study:
  """Experiments that are compared.

  Attributes:
    scores: also wanted, whoever uses them.
  """

  name: str
  seed: int
  replicates: int
  experiments: tuple[Experiment, ...]
  scores: tuple[ScoringSettings, ...]
  claims: ClaimSettings
  execution: ExecutionSettings

  @property
  def scorings(self) -> tuple[ScoringSettings, ...]:
    """Every score that is needed: what subsets ask for, then `scores`."""
    wanted = [
      seen.scoring
      for trunk in self.trunks
      for seen in (trunk.pretrain, trunk.train)
    ]
    return (*filter(None, wanted), *self.scores)

  @property
  def trunks(self) -> tuple[Trunk, ...]:
    """What every experiment trains, and what finds its masks."""
    searched = [e.search.trunk for e in self.experiments if e.search]
    return (*(e.trunk for e in self.experiments), *searched)
