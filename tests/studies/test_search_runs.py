"""The search for settings, run: its tables, and how it goes on."""

import numpy as np
import pandas as pd
import pytest

from configs import search_cifar10_small, search_mnist1d
from imp_jax.results.load import load
from imp_jax.statistics.intervals import mean_interval
from launch.search import run_search
from tests.tiny import random_arrays, write_npz


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


@pytest.mark.long
def test_a_search_on_images_runs(tmp_path):
  """Random ones, averaged to half their sides, with networks without ResNet."""
  search = search_cifar10_small.get_config("smoke")
  arrays = random_arrays(np.random.default_rng(0), train=60, shape=(32, 32, 3))
  small = write_npz(tmp_path / "images.npz", arrays)
  search.study.data.update(source="npz", path=small)
  for network in (search.study.model, search.study.scores.model):
    network.update(name="lenet300100", width=0.1)
  search.study.execution.convolution = "fast"
  out = tmp_path / "out"
  assert run_search(search, str(tmp_path / "runs"), out) == 0
  found = pd.read_csv(out / "search-cifar10-small-smoke_sparse.csv")
  assert set(found["experiment"]) == {"all-2", "random20-2"}


def test_what_is_stable_or_poor_is_not_pruned(tmp_path):
  search = search_mnist1d.get_config("smoke")
  search.grid = search.grid[:1]
  search.unstable = 1.1
  assert run_search(search, str(tmp_path / "runs"), tmp_path / "out") == 0
  text = (tmp_path / "out/search-smoke_dense.csv").read_text()
  assert text.strip().endswith("False,True,False,False")
  assert len(list((tmp_path / "runs/studies").iterdir())) == 1
