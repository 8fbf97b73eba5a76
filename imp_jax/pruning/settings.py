"""How IMP prunes: the options of a config's group "prune"."""

import dataclasses
from typing import Any

from imp_jax.core.options import option
from imp_jax.core.ranges import (
  above,
  between,
  choice,
  number,
  several,
  text,
  whole,
)
from imp_jax.pruning.allocate import ALLOCATIONS
from imp_jax.pruning.criteria import CRITERIA
from imp_jax.pruning.select import RULES

SOURCES = ("trained", "rewound")


@dataclasses.dataclass(frozen=True)
class PruneSettings:
  """How IMP prunes.

  Attributes:
    curved_examples: of the training examples, the first so many, on which the
      curvature of `bound` is taken; 0 without.
  """

  levels: int = option(12, whole(0), "level 0 is dense", where=True)
  criterion: str = option(
    "magnitude", choice(CRITERIA), "whose smallest scores go"
  )
  source: str = option(
    "trained",
    choice(SOURCES),
    "whose weights it scores: this level's after its training, or rewound: "
    "W_r's under this level's mask (pruning at initialisation where t_r = 0)",
  )
  examples_per_class: int = option(
    10,
    whole(1),
    "training examples for a criterion that needs any (grasp, snip; ntk_sap "
    "draws as many inputs)",
  )
  rounds: int = option(
    1,
    whole(1, 10_000),
    "of scoring at each level, each leaving the same share: synflow's authors "
    "have 100. More than one needs rule='exact'",
  )
  fraction: float = option(
    0.2, between("(0", "1)"), "of the survivors, removed at each level"
  )
  adaptive: tuple[float, ...] = option(
    (),
    several(between("(0", "1)")),
    "or the largest of these (else the smallest) after which the network still "
    "has its training error, before it is trained again",
  )
  tolerance: float = option(
    0.01, between("[0", "1)"), "of adaptive: the rise of error that is none"
  )
  densities: tuple[float, ...] = option(
    (), several(between("(0", "1]")), "or the density of levels 1, 2, ..."
  )
  allocation: str = option(
    "global",
    choice(ALLOCATIONS),
    "which weights compete: all, those of a layer, or those of a layer that "
    "keeps its share by Erdos-Renyi-Kernel",
  )
  rule: str = option(
    "threshold", choice(tuple(RULES)), "the paper's, or exact counts"
  )
  exclude: tuple[str, ...] = option(
    (),
    several(text),
    'layers left out: "head", "stem_conv/kernel". Under global allocation and '
    "the paper's rule the others give up the fraction of all survivors, these "
    "among them (as both of the paper's code bases do); under the exact rule "
    "and per layer, of their own",
  )
  masks_of: str = option(
    "",
    text,
    "an experiment whose masks are taken: that one searches, by its own data, "
    "rate and t_r, and this one trains what was found",
  )
  bound: float = option(
    0.0,
    number(0),
    "of adaptive: not by the training error, but at most this share of the "
    "fraction that curvature allows (see bound); 0 = by the error",
  )
  epsilon: float = option(
    0.05, above(0, " nats"), "of bound: the rise of the loss that is none"
  )
  curved_examples: int = 0


def idle(prune: Any) -> dict[str, Any]:
  """Returns the defaults of those options that other ones leave no effect.

  Args:
    prune: a config's group, or settings as they were saved.
  """
  plain = PruneSettings()
  found = {}
  bounded = prune["adaptive"] and prune.get("bound")
  if bounded or not prune["adaptive"]:
    found["tolerance"] = plain.tolerance
  if not bounded:
    found |= {"bound": plain.bound, "epsilon": plain.epsilon}
  criterion = CRITERIA.get(prune["criterion"])  # one's own may be gone
  if criterion and not criterion.needs_examples:
    found["examples_per_class"] = plain.examples_per_class
  return found
