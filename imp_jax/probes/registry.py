"""The probes, by the group of a config that says what they look at.

A probe is a module with GROUP, the name of its group; a dataclass of options;
`resolve`, `extent` and `views`. Those before it are known to its `resolve`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imp_jax.probes import (
  bound,
  connectivity,
  curvature,
  displacement,
  fields,
  permutation,
  planes,
)
from imp_jax.probes.facts import Extent, Facts
from imp_jax.stages.ticket import Ticket, View


@dataclasses.dataclass(frozen=True)
class Probe:
  """What a study may look at around its tickets.

  Attributes:
    settings: the dataclass of its options.
    resolve: (config's group, facts) -> settings.
    extent: (settings, facts, batches of an evaluation) -> what it would take.
    views: (settings of every probe, IMP's tickets by level) -> what it makes.
  """

  settings: type
  resolve: Callable[[Any, Facts], Any]
  extent: Callable[[Any, Facts, int], Extent]
  views: Callable[[Mapping[str, Any], Mapping[int, Ticket]], Iterator[View]]


PROBES: Mapping[str, Probe] = {
  connectivity.GROUP: Probe(
    connectivity.ConnectivitySettings,
    connectivity.resolve,
    connectivity.extent,
    connectivity.views,
  ),
  curvature.GROUP: Probe(
    curvature.CurvatureSettings,
    curvature.resolve,
    curvature.extent,
    curvature.views,
  ),
  bound.GROUP: Probe(
    bound.BoundSettings, bound.resolve, bound.extent, bound.views
  ),
  planes.GROUP: Probe(
    planes.PlaneSettings, planes.resolve, planes.extent, planes.views
  ),
  displacement.GROUP: Probe(
    displacement.DisplacementSettings,
    displacement.resolve,
    displacement.extent,
    displacement.views,
  ),
  permutation.GROUP: Probe(
    permutation.PermutationSettings,
    permutation.resolve,
    permutation.extent,
    permutation.views,
  ),
  fields.GROUP: Probe(
    fields.FieldSettings, fields.resolve, fields.extent, fields.views
  ),
}
