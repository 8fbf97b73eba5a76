"""The search for settings: its seeds and points."""

import pytest

from configs import (
  data_diet_mnist1d,
  mnist1d,
  search_cifar10_small,
  search_mnist1d,
)
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
  for arg in ("", "labels"):
    search = search_cifar10_small.get_config(arg)
    check_seeds(search)
    search.study.seed = 331
    with pytest.raises(ValueError, match="seed 331 .*cifar10_small.py"):
      check_seeds(search)
  for arg in ("", "depth", "diets", "labels"):
    check_seeds(search_mnist1d.get_config(arg))
  assert data_diet_mnist1d.get_config("labels").seed == 321


def test_a_study_is_no_search(tmp_path):
  with pytest.raises(ValueError, match="lacks study, grid, milestones"):
    run_search(mnist1d.get_config(), str(tmp_path / "runs"), tmp_path / "out")
  assert not list(tmp_path.iterdir())


def test_a_search_counts_in_steps():
  search = search_mnist1d.get_config()
  search.grid = ({"optim.steps": "2ep"},)
  with pytest.raises(ValueError, match="in steps or examples, got .*'2ep'"):
    points(search)
  search.grid = ({"optim.steps": "25600ex"},)
  assert points(search)[0].steps == 200


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
