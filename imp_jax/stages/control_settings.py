"""Which controls are trained: the options of a config's group "controls"."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imp_jax.core.options import option, read
from imp_jax.core.ranges import (
  Range,
  between,
  choice,
  in_range,
  one_of,
  several,
  text,
  whole,
)
from imp_jax.stages.controls import CONTROLS
from imp_jax.stages.matched import MATCHED_BY

# Options of some controls -> these.
NUMBER_OF: Mapping[str, tuple[str, ...]] = {
  "flipped": ("flipped_signs", "trained_flipped"),
  "early_distance": ("early_mask",),
  "prunings": ("gradual",),
  "matching": ("permuted_mask",),
}
# Of controls.kinds: all of them.
ALL = "all"
# Which W_r itself would be, where it is the initialisation.
_OF_INITIAL = ("init_magnitudes", "init_signs")


def _check_kind(field: str, value: Any) -> None:
  text(field, value)
  one_of(field, value, (*CONTROLS, ALL))


_KIND = Range(lambda: " | ".join((*CONTROLS, ALL)), _check_kind)


@dataclasses.dataclass(frozen=True)
class ControlSettings:
  """Which controls are trained, and at which levels."""

  kinds: tuple[str, ...] = option(
    (),
    several(_KIND),
    "random masks: of as many weights of each layer, of all layers together "
    "(global), by Erdos-Renyi-Kernel or smart ratios; another replicate's, as "
    "it is or permuted; masks chosen at once after level 0 (one_shot), the "
    "smallest scores kept (inverted), or as soon as they settle (early); "
    "pruned during one training (gradual); fresh weights (reinit); W_r's "
    "survivors shuffled in each layer, with other magnitudes under their "
    "signs, or other signs (random, some flipped, of the initialisation, of "
    "the network before pruning); that network's own weights (trained), or "
    "some of their signs flipped; fresh magnitudes under the signs of the "
    "trained ticket (sparse_signs; with its biases and BatchNorm, norm); or "
    "moved at random as far as pruning does (displaced; under the mask "
    "before); all of these",
    where=True,
  )
  levels: tuple[int, ...] = option(
    (), several(whole(1)), "at which", where=True
  )
  flipped: float = option(
    0.1,
    between("(0", "1]"),
    "share of signs, of the flipped ones",
  )
  early_distance: float = option(
    0.1,
    between("(0", "1]"),
    "share of weights in which no two of five masks differ, of early_mask",
  )
  prunings: int = option(10, whole(1, 1000), "of gradual")
  matching: str = option(
    "activations", choice(MATCHED_BY), "of units, of permuted_mask"
  )


def resolve_controls(
  controls: Any,
  levels: int,
  rewind_step: int,
  *,
  replicates: int,
  convolutions: bool,
  rewound: bool,
) -> ControlSettings:
  """Returns which controls are trained; of all those that can be.

  Args:
    controls: the config's group.
    levels: of IMP.
    rewind_step: t_r.
    replicates: of the study.
    convolutions: whether the network has any.
    rewound: whether the experiment's own tickets have their weights rewound.

  Raises:
    ValueError: a level is not run, or none is given, or a control would be
      IMP's ticket itself.
  """
  if controls.kinds and not controls.levels:
    raise ValueError(
      f"controls.kinds is {tuple(controls.kinds)}, but controls.levels is "
      "empty: say of which levels"
    )
  for level in controls.levels:
    in_range("controls.levels", level, 1, levels)
  same = [kind for kind in _OF_INITIAL if kind in controls.kinds]
  if same and not rewind_step:
    raise ValueError(
      f"controls.kinds={same[0]!r} takes something of the initialisation, "
      "which at pretrain.steps=0 is W_r: it would be the ticket itself"
    )
  if rewound and "one_shot" in controls.kinds and 1 in controls.levels:
    raise ValueError(
      "controls.kinds='one_shot' prunes as often as level 1 has been, once: of "
      "controls.levels=1 it would be the ticket itself"
    )
  chosen = tuple(sorted(set(controls.levels)))
  kinds = tuple(controls.kinds)
  if ALL in kinds:
    cannot = () if rewind_step else _OF_INITIAL
    cannot += () if replicates > 1 else ("other_mask", "permuted_mask")
    cannot += () if convolutions else ("random_smart",)
    kinds = tuple(kind for kind in CONTROLS if kind not in cannot)
  return read(ControlSettings, controls, kinds=kinds, levels=chosen)
