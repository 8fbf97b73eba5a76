"""Every option of a config, gathered from the classes that declare them."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from imp_jax.core.files import shown
from imp_jax.core.options import (
  Option,
  default_values,
  option,
  options_of,
  unset_options,
)
from imp_jax.core.ranges import Range, name, several, whole
from imp_jax.data.settings import (
  DataOptions,
  MadeSettings,
  NoiseSettings,
  StreamSettings,
)
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.registry import PROBES
from imp_jax.pruning.settings import PruneSettings
from imp_jax.results.claims import CLAIMS, ClaimSettings
from imp_jax.scores.settings import ScoreOptions, SubsetSettings
from imp_jax.stages.control_settings import ControlSettings
from imp_jax.stages.evaluate import EvalSettings
from imp_jax.stages.trunk import (
  PretrainOptions,
  SeenOptions,
  TicketSettings,
)
from imp_jax.training.settings import OptimSettings


@dataclasses.dataclass(frozen=True)
class StudyOptions:
  """The options of a study that are in no group."""

  name: str = option("study", name, "one name has one meaning in a workdir")
  seed: int = option(0, whole(0, 2**32 - 1), "of everything that is drawn")
  replicates: int = option(4, whole(1), "of every experiment")
  experiments: tuple[Any, ...] = option(
    (),
    several(Range("dict", lambda field, value: None, dict)),
    'named deltas: {"name": "all-20", "pretrain.steps": "20step"}',
  )


# Groups of a config, in the order of a run; "" is the config itself.
_GROUPS: tuple[tuple[str, type], ...] = (
  ("", StudyOptions),
  ("data", DataOptions),
  ("data", StreamSettings),
  ("model", ModelSettings),
  ("optim", OptimSettings),
  ("pretrain", PretrainOptions),
  ("pretrain.subset", SubsetSettings),
  ("pretrain.noise", NoiseSettings),
  ("train", SeenOptions),
  ("train.subset", SubsetSettings),
  ("train.noise", NoiseSettings),
  ("train.made", MadeSettings),
  ("scores", ScoreOptions),
  ("prune", PruneSettings),
  ("ticket", TicketSettings),
  ("controls", ControlSettings),
  ("eval", EvalSettings),
  *((group, probe.settings) for group, probe in PROBES.items()),
  ("execution", ExecutionSettings),
  *((f"claims.{claim}", settings) for claim, settings in CLAIMS.items()),
  ("claims", ClaimSettings),
)
# Groups whose unset fields are the experiment's own, less what they have not.
_UNSET: tuple[tuple[str, type, tuple[str, ...]], ...] = (
  ("pretrain.optim", OptimSettings, ("steps",)),
  ("scores.optim", OptimSettings, ()),
  ("scores.model", ModelSettings, ()),
)


def _fields() -> Iterator[tuple[str, Option, Any]]:
  """Yields (dotted name, declaration, default) of every option."""
  for group, settings in _GROUPS:
    defaults = default_values(settings)
    for field, declared in options_of(settings).items():
      yield _dotted(group, field), declared, defaults[field]
  for group, settings, without in _UNSET:
    for field, declared in unset_options(settings).items():
      if field not in without:
        yield _dotted(group, field), declared, None


def _dotted(group: str, field: str) -> str:
  return f"{group}.{field}" if group else field


FIELDS: Mapping[str, Option] = {field: o for field, o, _ in _fields()}
DEFAULTS: Mapping[str, Any] = {field: value for field, _, value in _fields()}
# What experiments of one study may differ in of "data"; the rest is the data.
STREAM_FIELDS = tuple(options_of(StreamSettings))
# What a config sets so as to look at nothing but the trunk.
BLIND: Mapping[str, Any] = {
  field: DEFAULTS[field]
  for field, declared in FIELDS.items()
  if declared.looks and field.split(".")[0] in PROBES
}


def get_defaults() -> Any:
  """Returns the `ConfigDict` that every study starts from.

  Durations are "200step", "2ep" (epochs) or "25600ex" (examples). Fractions
  and accuracies are fractions, not percent. Nothing here is derived from
  another field, so that an override changes just what it names.
  """
  from ml_collections import ConfigDict, config_dict

  config = ConfigDict()
  for field, declared in FIELDS.items():
    *groups, last = field.split(".")
    node: Any = config
    for group in groups:
      if group not in node:
        node[group] = ConfigDict()
      node = node[group]
    value = DEFAULTS[field]
    node[last] = (
      config_dict.placeholder(declared.range.kind) if value is None else value
    )
  return config


def described(config: Any) -> list[str]:
  """Returns a line for every option: value, range, default and meaning.

  Args:
    config: a study's; its values are shown.
  """
  values, lines = flatten(config.to_dict()), []
  for field, declared in FIELDS.items():
    value, default = values[field], DEFAULTS[field]
    changed = "" if value == default else f" (default {shown(default)})"
    where = "; changes no number" if declared.where else ""
    lines.append(
      f"{field} = {shown(value)}{changed}: {declared.meaning} "
      f"[{declared.range.told}{where}]"
    )
  return lines


def check_fields(config: Any) -> None:
  """Refuses a config that lacks a field, has another, or a value out of range.

  What depends on the data, or on other fields, is checked where it is resolved.

  Args:
    config: a study's, before anything is read or made.

  Raises:
    ValueError: names the field, the rule and the value.
  """
  if not hasattr(config, "copy_and_resolve_references"):
    raise ValueError(
      "a config must be an ml_collections ConfigDict, as configs/defaults.py "
      f"makes it, got {type(config).__name__}"
    )
  values = flatten(config.to_dict())
  missing = [field for field in FIELDS if field not in values]
  if missing:
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise ValueError(
      f"the config lacks {', '.join(missing[:5])}{more}; "
      "imp_jax.get_defaults() has every field: set config.prune.fraction, not "
      "config.prune = {...}"
    )
  for field in values:
    if field not in FIELDS:
      raise ValueError(
        f"the config has an unknown field {field!r}{near(field, FIELDS)}"
      )
  for field, declared in FIELDS.items():
    declared.range(field, values[field])
  names = set()
  for delta in config.experiments:
    own = _experiment_name(delta)
    if own in names:
      raise ValueError(f"two experiments are named {own!r}")
    names.add(own)
    for field, value in flatten(delta).items():
      if field in FIELDS and field != "name":
        try:
          if value is None:
            raise ValueError(f"{field}: it must have a value, got None")
          FIELDS[field].range(field, value)
        except ValueError as error:
          raise ValueError(f"experiment {own}, {error}") from None


def with_delta(config: Any, name: str, flat: Mapping[str, Any]) -> Any:
  """Returns a copy of a config with one experiment's fields set.

  Args:
    config: the study's.
    name: of the experiment, for messages.
    flat: its fields by dotted name.

  Raises:
    ValueError: a field is unknown, shared by a study's experiments, or of
      another type.
  """
  config = config.copy_and_resolve_references()
  shared = (
    *options_of(StudyOptions),
    "claims",
    "execution",
    "scores.compute",
  )
  for path, value in flat.items():
    *groups, field = path.split(".")
    if path not in FIELDS:
      raise ValueError(
        f"experiment {name} sets unknown field {path!r}{near(path, FIELDS)}"
      )
    if (
      path in shared
      or path.split(".")[0] in shared
      or (groups == ["data"] and field not in STREAM_FIELDS)
    ):
      raise ValueError(
        f"experiment {name} sets {path!r}, which a study's experiments share"
      )
    node = config
    for group in groups:
      node = node[group]
    try:
      if value is None:
        raise TypeError("it must have a value, got None")
      node[field] = tuple(value) if isinstance(value, list) else value
    except TypeError as error:
      raise ValueError(f"experiment {name}, {path}: {error}") from error
  return config


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {"a.b": value} of a mapping nested, dotted, or both."""
  flat = {}
  for key, value in tree.items():
    if hasattr(value, "items"):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def near(field: str, known: Mapping[str, Any]) -> str:
  """Returns a hint at what a misspelt field may have meant; "" without any."""
  similar = difflib.get_close_matches(field, known, 1)
  return f"; did you mean {similar[0]!r}?" if similar else ""


def _experiment_name(delta: Any) -> str:
  """The name of one of a config's experiments."""
  if not hasattr(delta, "items"):
    raise ValueError(
      f'each of experiments is a dict like {{"name": "a"}}, got {shown(delta)}'
    )
  if not all(isinstance(key, str) for key in delta):
    raise ValueError(
      f"experiments set fields by name, got {shown(list(delta))}"
    )
  own = delta.get("name")
  if not isinstance(own, str):
    raise ValueError(
      "each of experiments needs a name of letters, digits, . + = - _, got "
      f"{shown(own)}"
    )
  name(f"the name of experiment {shown(own)}", own)
  return own
