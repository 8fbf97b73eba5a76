"""What a case finds, rounds timed in turn, and the file that results go to."""

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Options:
  """What every case is measured with.

  Attributes:
    rounds: timed calls of each side, taken in turn.
    model: of the image cases.
    batch: examples per step.
    dtype: of activations, on both sides.
    quick: small shapes, to see that a case runs; its figures say nothing.
    replicates: of `throughput`; none for those it takes by itself.
    out: the folder of the results; None where nothing is written.
  """

  rounds: int = 5
  model: str = "resnet20"
  batch: int = 128
  dtype: str = "float32"
  quick: bool = False
  replicates: tuple[int, ...] = ()
  out: Path | None = RESULTS

  def keep(self, case: str, found: Mapping[str, Any]) -> None:
    """Writes what a long case has found so far to OUT/CASE.partial.json."""
    if self.out is None:
      return
    self.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(found), indent=1) + "\n"
    file = partial(self.out, case)
    file.with_suffix(".new").write_text(text)  # a limit may fall in between
    file.with_suffix(".new").replace(file)

  def named(self, case: str) -> str:
    """The name in the results of a case of images; says what is not usual."""
    said = {
      self.model: "resnet20",
      f"batch{self.batch}": "batch128",
      self.dtype: "float32",
    }
    return "_".join(
      [case, *(now for now, usual in said.items() if now != usual)]
    )


@dataclasses.dataclass(frozen=True)
class Measured:
  """What one case found; the fields of results' JSON.

  Attributes:
    case: its name.
    unit: of `ours` and `reference`.
    ours, reference: of the rounds; the reference's says what it is of.
    ratio: larger is better, whatever the unit; None where nothing is compared.
    goal: what the ratio must reach, or None.
    limited_by: what keeps it from more, where the goal is missed.
    details: further numbers.
  """

  case: str
  unit: str
  ours: Sequence[float]
  reference: Sequence[float]
  reference_name: str
  ratio: float | None
  goal: float | None
  limited_by: str = ""
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def met(self) -> bool | None:
    if self.goal is None or self.ratio is None:
      return None
    return self.ratio >= self.goal

  def to_json(self) -> dict[str, Any]:
    return {
      "case": self.case,
      "unit": self.unit,
      "ours": summary(self.ours),
      "reference": {"name": self.reference_name} | summary(self.reference),
      "ratio": None if self.ratio is None else round(self.ratio, 4),
      "goal": self.goal,
      "met": self.met,
      "limited_by": "" if self.met else self.limited_by,
      "details": dict(self.details),
    }


def partial(out: Path, case: str) -> Path:
  """The file of a case that is not finished."""
  return out / f"{case}.partial.json"


def in_turn(
  runs: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
  """Returns each run's units of work per second, round by round.

  Args:
    runs: each returns how many units of work one call did, when it is done.
      All are called once before anything is timed.
    rounds: calls of each, taken in turn: a drift of the machine meets them all.
  """
  for run in runs.values():
    run()
  rates: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(rounds):
    for name, run in runs.items():
      start = time.perf_counter()
      work = run()
      rates[name].append(work / (time.perf_counter() - start))
  return rates


def compared(
  case: str,
  unit: str,
  rates: Mapping[str, Sequence[float]],
  *,
  goal: float | None,
  limited_by: str = "",
  details: Mapping[str, Any] | None = None,
) -> Measured:
  """Returns what two runs timed in turn say: the median ratio of the rounds.

  Args:
    case, unit, goal, limited_by, details: of the result.
    rates: of ours and of the reference, in this order; larger is better.
  """
  (_, ours), (name, reference) = rates.items()
  ratios = [a / b for a, b in zip(ours, reference, strict=True)]
  spread = {"ratio_min": min(ratios), "ratio_max": max(ratios)}
  return Measured(
    case=case,
    unit=unit,
    ours=ours,
    reference=reference,
    reference_name=name,
    ratio=statistics.median(ratios),
    goal=goal,
    limited_by=limited_by,
    details=_rounded(spread) | dict(details or {}),
  )


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
  """Returns the slope of log(values) over log(sizes), by least squares."""
  x, y = ([math.log(v) for v in side] for side in (sizes, values))
  mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
  above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
  return above / sum((a - mean_x) ** 2 for a in x)


def summary(values: Sequence[float]) -> dict[str, float]:
  """Returns {"median", "min", "max"} to four digits, or {} of nothing."""
  if not values:
    return {}
  found = {
    "median": statistics.median(values),
    "min": min(values),
    "max": max(values),
  }
  return _rounded(found)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns the results as a table in Markdown."""
  lines = [
    "| case | ours | reference | ratio | goal | met |",
    "|---|---|---|---|---|---|",
  ]
  for row in rows:
    ours, reference = row["ours"], row["reference"]
    shown = f"{reference['median']:g} " if "median" in reference else ""
    ratio, goal = row["ratio"], row["goal"]
    cells = (
      f"`{row['case']}`",
      f"{ours['median']:g} {row['unit']}" if ours else "",
      f"{shown}({reference['name']})" if reference["name"] else "",
      "" if ratio is None else f"{ratio:.2f}",
      "" if goal is None else f"{goal:.2f}",
      {None: "", True: "yes", False: "no"}[row["met"]],
    )
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def write(
  name: str,
  machine: Mapping[str, Any],
  versions: Mapping[str, str],
  found: Sequence[Measured],
  folder: Path = RESULTS,
) -> Path:
  """Writes results/NAME.json and returns where.

  Cases that were not measured now stay as they were if the machine and the
  versions are the same, and are dropped if they are not.
  """
  file = folder / f"{name}.json"
  rows = {m.case: m.to_json() for m in found}
  if file.exists():
    old = json.loads(file.read_text())
    if (old["machine"], old["versions"]) == (dict(machine), dict(versions)):
      rows = {row["case"]: row for row in old["cases"]} | rows
  content = {
    "machine": dict(machine),
    "versions": dict(versions),
    "cases": list(rows.values()),
  }
  folder.mkdir(parents=True, exist_ok=True)
  file.write_text(json.dumps(content, indent=1) + "\n")
  for measured in found:
    partial(folder, measured.case).unlink(missing_ok=True)
  return file


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
  return {name: float(f"{value:.4g}") for name, value in values.items()}
