"""Writes report.html: a part of each study, and the page that has them all."""

import base64
import contextlib
import datetime
import functools
import importlib.resources
import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from imp_jax.core.buckets import exists, read_file
from imp_jax.core.index import Entry, study_names
from imp_jax.core.store import Store
from imp_jax.results.accuracy import test_accuracy
from imp_jax.results.compare import compared, settings_apart
from imp_jax.results.load import Results
from imp_jax.results.page.costs import (
  invariants_table,
  made_by_id,
  sharing_line,
  spent_lines,
  stages_table,
  ways_table,
)
from imp_jax.results.parts import Parts
from imp_jax.results.summary import landscape_lines, summary_lines
from imp_jax.results.tables import Tables
from imp_jax.results.verdicts import STATEMENTS

PAGE, SECTION = "report.html", "section.html"
COMMAND = "command.txt"  # of a study: by which it was last run
# So many levels each have a column of accuracies; of more three have.
_LEVELS = 5


def write_section(parts: Parts, tables: Tables) -> None:
  """Writes a study's part of the page, of what its parts could be made of."""
  parts.store.write_text(parts.folder / SECTION, _section(parts, tables))


def write_page(store: Store) -> None:
  """Writes report.html of a workdir: the parts of all its studies."""
  files = {name: store.study_dir(name) / SECTION for name in study_names(store)}
  sections = {
    name: read_file(file).decode()
    for name, file in files.items()
    if exists(file)
  }
  title = f"Lottery tickets: {', '.join(sections)}"
  store.write_text(store.root / PAGE, _page(title, sections))


def comparison_page(studies: Sequence[tuple[str, Results, Parts]]) -> str:
  """Returns a page on several studies, of one workdir or more.

  Args:
    studies: the name of each on the page, its results, and its parts with their
      charts. The first is what the others are compared with.

  Raises:
    ValueError: two have one name.
  """
  names = [name for name, *_ in studies]
  if len(set(names)) < len(names):
    raise ValueError(f"two studies have one name: {', '.join(names)}")
  results = [study for _, study, _ in studies]
  missing: list[str] = []
  tables = []
  for name, other in zip(names[1:], results[1:], strict=True):
    with _left_out(missing, f"{name} beside {names[0]}"):
      table = _differences(compared(results[0], other))
      tables.append(_shown_table(f"{name} − {names[0]}", table))
  with _left_out(missing, "settings"):
    apart = settings_apart(results).rename(
      columns={str(i + 1): name for i, name in enumerate(names)}
    )
    if len(apart):
      title = "Settings in which experiments of one name differ"
      tables.append(_shown_table(title, apart))
  first = _template(SECTION).render(
    study="Comparison",
    progress="Test accuracy of tickets of one name and level, paired by "
    "replicate: mean and interval of the difference in points, with Holm's "
    "correction over all rows of a table.",
    claims=[],
    said=[],
    missing=missing,
    figures=[],
    toggles=[],
    tables=tables,
    artefacts=[],
    command="",
  )
  sections = {"Comparison": first}
  for name, study, parts in studies:
    place = f"{parts.store.root}/"
    sections[name] = _section(parts, study.tables, name, place)
  return _page(f"Lottery tickets: {', '.join(names)}", sections)


def _differences(table: pd.DataFrame) -> pd.DataFrame:
  """A comparison as it is read: percent and points."""
  shown: Any = table[["experiment", "level"]].copy()
  shown["weights left (%)"] = [f"{100 * d:.1f}" for d in table["density"]]
  for column in ("first", "second"):
    shown[f"{column} (%)"] = [f"{100 * v:.2f}" for v in table[column]]
  shown["difference"] = [f"{100 * v:+.2f}" for v in table["difference"]]
  shown["interval"] = [
    f"[{100 * low:+.2f}, {100 * high:+.2f}]"
    for low, high in zip(table["low"], table["high"], strict=True)
  ]
  shown["confidence (%)"] = [f"{100 * c:.4g}" for c in table["confidence"]]
  shown["replicates"] = table["replicates"]
  return shown


def _page(title: str, sections: Mapping[str, str]) -> str:
  """The whole page, with all that it needs; without Altair as it is."""
  try:
    from imp_jax.results.charts.drawing import library

    program = library().replace("</script", "<\\/script")
  except ImportError:
    program = ""
  now = datetime.datetime.now(datetime.UTC)
  return _template("page.html").render(
    title=title,
    written=f"{now:%Y-%m-%d %H:%M} UTC",
    studies=list(sections),
    sections=list(sections.values()),
    css=_asset("page.css"),
    script=_asset("page.js"),
    library=program,
  )


def _section(
  parts: Parts, tables: Tables, study: str = "", place: str = ""
) -> str:
  """A study's part of the page.

  Args:
    parts, tables: its own.
    study: its name on the page; "" is its own.
    place: of its workdir, before the artefacts' paths; "" is the page's.
  """
  store, study = parts.store, study or parts.study
  made = made_by_id(store, tables.index)
  needed = {i for entry in tables.index for i in entry.ids.values()}
  missing = list(parts.failed)
  failures = parts.folder / "failures.txt"
  if exists(failures):
    lines = read_file(failures).decode().splitlines()
    missing += [f"failed: {line}" for line in lines]
  command = parts.folder / COMMAND
  kept: list[dict[str, Any]] = []

  def add(title: str, make: Callable[[], pd.DataFrame]) -> None:
    with _left_out(missing, title):
      table = make()
      if len(table):
        kept.append(_shown_table(title, table))

  add("Experiments", lambda: _experiments(tables))
  add("What it took", lambda: stages_table(made))
  add("Invariants", lambda: invariants_table(made))
  add("Versions and hardware", lambda: ways_table(made))
  said: list[str] = []
  for what, lines in (
    ("summary", lambda: _summary(tables)),
    ("landscape", lambda: landscape_lines(tables)),
    ("time", lambda: [sharing_line(made, tables.index)] if made else []),
    ("compute", lambda: spent_lines(made)),
  ):
    with _left_out(missing, what):
      said += lines()
  claims: list[dict[str, Any]] = []
  if "verdicts" in tables.names:
    with _left_out(missing, "claims"):
      verdicts = tables.get("verdicts").to_dict("records")
      claims = [_claim(row) for row in verdicts]
  figures, toggles = _figures(parts, tables, missing, study)
  finished = len(needed & made.keys())
  return _template(SECTION).render(
    study=study,
    progress=f"{finished:,} of {len(needed):,} artefacts are finished"
    + ("" if finished == len(needed) else "; this is what there is"),
    claims=claims,
    said=said,
    missing=missing,
    figures=figures,
    toggles=list(toggles.items()),
    tables=kept,
    artefacts=_artefacts(study, tables.index, made.keys(), place),
    command=read_file(command).decode() if exists(command) else "",
  )


@contextlib.contextmanager
def _left_out(missing: list[str], what: str) -> Iterator[None]:
  """Keeps a failure of the block from the rest of the page, and names it."""
  try:
    yield
  except Exception as error:  # whatever a library raises at odd data
    reason = " ".join(str(error).split()) or type(error).__name__
    missing.append(f"{what}: {reason}")


def _summary(tables: Tables) -> list[str]:
  layers, experiments = tables.get("layers"), tables.get("experiments")
  results = tables.get("results")
  if not len(results):
    return []
  return summary_lines(results, layers, experiments, tables.claims)


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
  """A row of verdicts.csv as it is read: differences in points."""
  number = int(row["claim"])
  # Claim 3's estimate is a correlation, no difference.
  scale = 100 if number != 3 else 1
  columns = ("estimate", "low", "high")
  points = [f"{scale * row[column]:+.2f}" for column in columns]
  confidence = f"{100 * row['confidence']:g} %"
  return {
    "claim": f"{number}, {STATEMENTS[number]}",
    "what": row["what"],
    "level": row["level"],
    "density": f"{100 * row['density']:.1f} %",
    "estimate": points[0],
    "interval": f"[{points[1]}, {points[2]}], {confidence}",
    "replicates": row["replicates"],
    "verdict": row["verdict"],
  }


def _experiments(tables: Tables) -> pd.DataFrame:
  """Each experiment's accuracy, and the settings in which they differ."""
  results = test_accuracy(tables.get("results"))
  if not len(results):
    return results
  levels = sorted(set(results["level"]))
  shown = levels
  if len(levels) > _LEVELS:
    shown = [levels[0], levels[len(levels) // 2], levels[-1]]
  each: Any = results.groupby(["experiment", "level"], sort=False)
  means = each["value"].agg(["mean", "std", "count"])
  rows = []
  for name in dict.fromkeys(results["experiment"]):
    row = {"experiment": name}
    for level in shown:
      row[f"level {level} (%)"] = _accuracy(means, name, level)
    rows.append(row)
  table = pd.DataFrame(rows)
  settings: Any = tables.get("experiments").set_index("experiment").astype(str)
  differ = [c for c in settings if settings[c].nunique() > 1]
  parents = table["experiment"].str.partition(":")[0]
  for column in differ:
    table[column] = parents.map(settings[column]).fillna("")
  return table


def _accuracy(means: pd.DataFrame, name: str, level: int) -> str:
  if (name, level) not in means.index:
    return ""
  mean, std, count = means.loc[(name, level)]
  spread = f" ± {100 * std:.2f}" if count > 1 else ""
  return f"{100 * mean:.2f}{spread} (n={count:.0f})"


def _shown_table(title: str, table: pd.DataFrame) -> dict[str, Any]:
  rows = table.astype(str).to_numpy().tolist()
  return {"title": title, "columns": list(table.columns), "rows": rows}


def _figures(
  parts: Parts, tables: Tables, missing: list[str], study: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
  """The charts, and the series that can be toggled, with their colours."""
  if not parts.charts:
    return [], {}
  from imp_jax.results.charts.drawing import drawn, spec_of

  known = {entry.row_name for entry in tables.index if entry.experiment}
  link = functools.partial(_link, study, known)
  figures, toggles = [], {}
  for name, (chart, svg) in parts.charts.items():
    with _left_out(missing, name):
      spec = spec_of(chart, link)
      csv = chart.table().drop(columns="url", errors="ignore")
      figures.append(
        {
          "name": name,
          "alt": chart.alt,
          "svg": (svg or drawn(chart, "svg")).decode(),
          "csv": base64.b64encode(csv.to_csv(index=False).encode()).decode(),
          "spec": _json(spec),
        }
      )
      for series in chart.names:
        toggles.setdefault(series, chart.styles[series].colour)
  return figures, toggles


def _link(study: str, known: set[str], row: Mapping[str, Any]) -> str | None:
  """Where the page tells of the artefacts that a point is of."""
  name = row.get("experiment") or row.get("name")
  if name not in known or "level" not in row:
    return None
  return "#" + urllib.parse.quote(_anchor(study, str(name), int(row["level"])))


def _anchor(study: str, name: str, level: int) -> str:
  return f"{study}/{name}/{level}"


def _artefacts(
  study: str, index: Iterable[Entry], finished: Iterable[str], place: str
) -> list[dict[str, Any]]:
  """Links to the artefacts of each experiment, by level and role."""
  finished = set(finished)
  found: dict[str, dict[tuple[int, str], list[dict[str, Any]]]] = {}
  for entry in index:
    name = entry.row_name or entry.between
    for role, object_id in entry.ids.items():
      if object_id not in finished:
        continue
      said = f"{role} {entry.between}".strip() if entry.experiment else role
      rows = found.setdefault(name, {}).setdefault((entry.level, said), [])
      href = f"{place}objects/{object_id}/record.json"
      rows.append({"href": href, "id": object_id, "replicate": entry.replicate})
  experiments = []
  for name, rows in found.items():
    told, shown = [], set()
    for (level, role), links in sorted(rows.items()):
      # Of a level's rows one is what its points link to.
      anchor = "" if level in shown else _anchor(study, name, level)
      shown.add(level)
      row = {"level": level, "role": role, "links": links, "anchor": anchor}
      told.append(row)
    experiments.append({"name": name, "rows": told})
  return experiments


def _json(value: Any) -> str:
  """JSON that ends no <script> that it stands in."""
  text = json.dumps(value, separators=(",", ":"))
  return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
  folder = importlib.resources.files("imp_jax.results.page")
  return (folder / name).read_text(encoding="utf-8")


@functools.cache
def _template(name: str) -> Any:
  import jinja2

  strict = jinja2.StrictUndefined
  environment = jinja2.Environment(autoescape=True, undefined=strict)
  return environment.from_string(_asset(name))
