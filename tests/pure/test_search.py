"""The search for settings: its seeds, points and tables."""

import numpy as np
import pandas as pd
import pytest

from configs import data_diet_mnist1d, mnist1d, search_mnist1d
from imp_jax.results.load import load
from imp_jax.statistics.intervals import mean_interval
from launch.search import check_seeds, points, run_search, sparse_config


@pytest.mark.parametrize(
  "module,seed",
  [("mnist1d", mnist1d.CONFIRMING_SEEDS[7]), ("data_diet_mnist1d", 321)],
)
def test_a_confirming_seed_is_no_seed_of_a_search(tmp_path, module, seed):
  search = search_mnist1d.get_config("smoke")
  search.study.seed = seed
  with pytest.raises(ValueError) as error:
    run_search(search, str(tmp_path / "runs"), tmp_path / "out")
  line = str(error.value)
  assert f"seed {seed} of search 'search-smoke'" in line
  assert f"configs/{module}.py" in line
  assert not list(tmp_path.iterdir())


def test_nor_is_it_one_of_its_grid():
  search = search_mnist1d.get_config("smoke")
  search.grid = ({"optim.learning_rate": 0.1}, {"seed": 322})
  with pytest.raises(ValueError, match="seed 322 .*landscape_mnist1d.py"):
    check_seeds(search)


def test_no_search_has_a_confirming_seed():
  for arg in ("", "depth", "diets", "labels"):
    check_seeds(search_mnist1d.get_config(arg))
  assert data_diet_mnist1d.get_config("labels").seed == 321


def test_a_study_is_no_search(tmp_path):
  with pytest.raises(ValueError, match="lacks study, grid, milestones"):
    run_search(mnist1d.get_config(), str(tmp_path / "runs"), tmp_path / "out")
  assert not list(tmp_path.iterdir())


def test_points_set_what_the_grid_says_and_t_moves_what_depends_on_it():
  search = search_mnist1d.get_config()
  search.grid = (
    {"optim.learning_rate": 0.2, "model.width": 2.0},
    {"optim": {"steps": "600step"}},
  )
  first, second = points(search)
  assert first.name == "learning_rate=0.2, width=2.0"
  assert first.config.optim.learning_rate == 0.2
  assert first.config.model.width == 2.0
  assert (first.steps, first.rewind_steps) == (1000, (20, 50, 100))
  assert (second.steps, second.rewind_steps) == (600, (12, 30, 60))
  assert second.config.optim.milestones == ("300step", "450step")
  assert second.config.optim.learning_rate == search.study.optim.learning_rate
  names = [e["name"] for e in sparse_config(second, search).experiments]
  assert names == ["none", "all-12", "all-30", "all-60"]
  search.grid = search.grid[:1] * 2
  with pytest.raises(ValueError, match="two points of the grid are one"):
    points(search)


def test_a_search_writes_its_tables_and_goes_on_where_it_was(tmp_path):
  search = search_mnist1d.get_config("smoke")
  search.grid = search.grid[:1]
  out = tmp_path / "out"
  assert run_search(search, str(tmp_path / "runs"), out) == 0
  dense, sparse = (
    pd.read_csv(out / f"search-smoke_{kind}.csv")
    for kind in ("dense", "sparse")
  )
  (row,) = dense.to_dict("records")
  assert (row["seed"], row["replicates"], row["late"]) == (210, 2, 5)
  assert row["pruned"] and row["unstable"] and row["stable"]
  study = f"search-smoke-{row['point'].replace(', ', '-')}"
  runs = str(tmp_path / "runs")
  unstable = load(runs, study).read_table("instability")
  unstable = unstable.set_index("experiment")
  assert row["instability_none_mean"] == pytest.approx(
    unstable.loc["none", "mean"], rel=1e-5
  )
  # Two levels of two t_r on all the data and on one subset.
  assert len(sparse) == 2 * 2 * 2
  results = load(runs, f"{study}-sparse").table.query(
    "metric == 'accuracy' and level == 1"
  )
  accuracy = results.pivot(
    index="replicate", columns="experiment", values="value"
  )
  found = sparse.query("experiment == 'all-5' and level == 1").iloc[0]
  expected = mean_interval(np.asarray(accuracy["all-5"] - accuracy["none"]))
  assert found["difference"] == pytest.approx(expected.mean, abs=1e-9)
  assert found["std"] == pytest.approx(expected.std, rel=1e-5)
  assert found["none"] == pytest.approx(accuracy["none"].mean(), rel=1e-5)
  before = {
    f.name: f.stat().st_mtime for f in (tmp_path / "runs/objects").iterdir()
  }
  assert run_search(search, str(tmp_path / "runs"), out) == 0
  after = {
    f.name: f.stat().st_mtime for f in (tmp_path / "runs/objects").iterdir()
  }
  assert before == after


def test_what_is_stable_or_poor_is_not_pruned(tmp_path):
  search = search_mnist1d.get_config("smoke")
  search.grid = search.grid[:1]
  search.unstable = 1.1
  assert run_search(search, str(tmp_path / "runs"), tmp_path / "out") == 0
  text = (tmp_path / "out/search-smoke_dense.csv").read_text()
  assert text.strip().endswith("False,True,False,False")
  assert len(list((tmp_path / "runs/studies").iterdir())) == 1
