"""Chart: the smallest matching density against t_r."""

import dataclasses

import pandas as pd

from imp_jax.results.charts.chart import (
  Axis,
  Chart,
  Layer,
  Panel,
  density_axis,
  series_styles,
)
from imp_jax.results.variants import variants


def smallest_density_chart(
  densities: pd.DataFrame, experiments: pd.DataFrame, margin: float
) -> Chart | None:
  """Returns the smallest matching density against t_r, a line per variant.

  A variant's line begins at the experiment that pre-trains on nothing, with
  which its others agree otherwise.

  Args:
    densities: rows of smallest_density.csv.
    experiments: rows of experiments.csv.
    margin: of matching, a fraction; for the title.

  Returns:
    Experiments as points that a line joins, by the interval of all replicates;
    each replicate by its own difference as a faint one. None where nothing is
    pre-trained.
  """
  of = variants(experiments)
  table = densities.merge(of, on="experiment")
  table = table.query("density > 0")  # y is logarithmic
  parts = []
  for name, group in table.query("kind != 'none'").groupby(
    "variant", sort=False
  ):
    start = table.query("kind == 'none' and base in @group.base")
    parts.append(pd.concat([start, group]).assign(name=name))
  if not parts:
    return None
  rows = pd.concat(parts, ignore_index=True)
  rows = rows.assign(x=rows["rewind_step"], y=rows["density"])
  rows = rows.sort_values(["name", "x"], kind="stable")
  columns = ["x", "y", "name", "experiment"]
  alone = rows["replicate"].notna()
  together = rows.loc[~alone, columns]
  study = densities["study"].iloc[0]
  return Chart(
    f"{study}: smallest density that matches the dense network\n"
    f"margin {100 * margin:g} points; faint: each replicate by itself",
    (
      Panel(
        "",
        Axis("t_r (steps)"),
        dataclasses.replace(
          density_axis(table["density"]),
          title="smallest matching density (%)",
          reverse=False,
        ),
        (
          Layer("line", together),
          Layer("faint", rows.loc[alone, [*columns, "replicate"]]),
          Layer("point", together),
        ),
      ),
    ),
    series_styles(dict.fromkeys(rows["name"])),
    width=440,
    height=240,
  )
