"""Children differ in the chosen noise, and in nothing else."""

import itertools

import chex
import jax
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.core.store import Checkpoint
from tests.tiny import copy_of, random_arrays, run_tiny
from tests.tiny_landscape import (
  T_R,
  children_of,
  connected,
  plan_of,
)


def images(folder, arrays, **changes):
  """A study of the smallest network on images, which can be augmented."""
  path = folder / "images.npz"
  np.savez(
    path,
    **{
      f"{split}_{kind}": part
      for split, pair in arrays.items()
      for kind, part in zip(("image", "label"), pair, strict=True)
    },
  )
  settings = connected(
    data__source="npz",
    data__path=str(path),
    data__batch_size=8,
    data__flip=True,
    optim__steps="3step",
    eval__splits=("test",),
    connectivity__splits=("test",),
    model__name="lenet300100",
    model__width=0.05,
    connectivity__alphas=(0.5,),
  )
  return settings | changes


def words_of(seen, name):
  """(data order, augmentation) of a run by its key's words."""
  order, key = seen[name]
  return order, tuple(jax.random.key_data(key).tolist())


def test_children_share_all_but_the_chosen_noise(tmp_path, rng, monkeypatch):
  from imp_jax.stages import train as training

  seen, real = {}, training.start_run

  def spy(*args, name, **options):
    run = real(*args, name=name, **options)
    seen[name] = run.order_words, run.state.key
    return run

  monkeypatch.setattr(training, "start_run", spy)
  kinds = ("order", "augment", "both")
  settings = images(
    tmp_path,
    random_arrays(rng, shape=(8, 6, 3)),
    replicates=2,
    experiments=tuple(
      {
        "name": kind,
        "connectivity.differ": kind,
        "connectivity.children": 3 if kind == "order" else 2,
      }
      for kind in kinds
    ),
  )
  run_tiny(tmp_path / "w", **settings)
  for r in (0, 1):
    order, augment = words_of(seen, f"order level 0, replicate {r}")
    found = {
      (kind, child): words_of(
        seen, f"{kind} level 0, child {child}, replicate {r}"
      )
      for kind, child in (*((k, 1) for k in kinds), ("order", 2))
    }
    for (kind, _), (own_order, own_augment) in found.items():
      assert (own_order != order) == (kind in ("order", "both"))
      assert (own_augment != augment) == (kind in ("augment", "both"))
    assert found["order", 1] != found["order", 2]  # each child has its own
  # Nor do replicates share a child's noise.
  for kind in kinds:
    assert words_of(seen, f"{kind} level 0, child 1, replicate 0") != words_of(
      seen, f"{kind} level 0, child 1, replicate 1"
    )
  plan = plan_of(tmp_path / "w", **settings)
  for kind, r in itertools.product(kinds, (0, 1)):
    made = children_of(plan, replicate=r, experiment=kind)
    # They start from one network: W_r of their replicate.
    assert len({str(c.record["inputs"]) for c in made}) == 1
    kernels = [c.tree["params"]["head"]["kernel"] for c in made]
    for one, other in itertools.combinations(kernels, 2):
      assert np.abs(one - other).max() > 1e-3


def test_mirrored_children_see_one_data_order(tmp_path, rng):
  """Mirror images, mirrored, are the same: the children are equal, and named.

  It would not be so if anything else than mirroring differed between them.
  """
  arrays = {
    split: (np.concatenate([x, x[:, :, ::-1]], axis=2), y)
    for split, (x, y) in random_arrays(rng, shape=(8, 3, 3)).items()
  }
  settings = images(tmp_path, arrays, connectivity__differ="augment")
  results, log = run_tiny(tmp_path / "w", **settings)
  message = (
    "all level 0, children 0 and 1, replicate 0: the two networks are equal: "
    "nothing differed between their trainings"
  )
  assert log.warnings == [message]
  folder = tmp_path / "w" / "studies" / "landscape"
  assert (folder / "failures.txt").read_text() == message + "\n"
  # The networks themselves are there.
  assert set(results.table.experiment) == {"all"}
  first, second = children_of(plan_of(tmp_path / "w", **settings))
  chex.assert_trees_all_equal(first.tree, second.tree)


def moved(norm, step, **changes):
  """Perturbed children of a training whose learning rate is 0 from step 3."""
  settings = connected(
    prune__levels=1,
    replicates=2,
    optim__milestones=("3step",),
    optim__milestone_factor=0.0,
    connectivity__children=3,
    connectivity__levels=(0, 1),
    connectivity__differ="perturb",
    connectivity__perturb_norm=norm,
    connectivity__perturb_step=f"{step}step",
    connectivity__alphas=(0.5,),
  )
  return settings | changes


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("perturbed")
  results, log = run_tiny(workdir, **moved(0.5, 3))
  return workdir, results, log


def moves(children):
  """Each later child's flat weights less child 0's."""
  weights = [
    {
      p: np.asarray(x, np.float64)
      for p, x in flat_leaves(c.tree["params"]).items()
    }
    for c in children
  ]
  return [{p: w[p] - weights[0][p] for p in w} for w in weights[1:]]


def norm_of(move):
  return np.sqrt(sum((leaf**2).sum() for leaf in move.values()))


def test_a_perturbation_has_its_norm_and_spares_pruned_weights(perturbed):
  """The weights stand still after step 3, where they were moved."""
  workdir, results, log = perturbed
  assert not log.warnings
  plan, directions = plan_of(workdir, **moved(0.5, 3)), []
  for level, r in itertools.product((0, 1), (0, 1)):
    ticket = results.ticket("all", level=level, replicate=r)
    masks = flat_leaves(ticket.masks)
    pruned = sum(np.sum(~m) for m in masks.values())
    assert (pruned > 0) == (level == 1)
    for move in moves(children_of(plan, level=level, replicate=r)):
      # 414 weights, each rounded to 24 bits.
      assert norm_of(move) == pytest.approx(0.5, rel=1e-5)
      for path, leaf in move.items():
        # Every weight in use is moved, biases and BatchNorm's too.
        np.testing.assert_array_equal(leaf != 0, masks[path], path)
      if level == 0:
        directions.append(np.concatenate([x.ravel() for x in move.values()]))
  # Directions are random and each child's own: far from parallel.
  for one, other in itertools.combinations(directions, 2):
    assert abs(one @ other) / 0.25 < 0.3
  # Normal entries: kurtosis 3, where uniform ones have 1.8, signs 1.
  entries = np.concatenate(directions) * np.sqrt(414) / 0.5
  assert 2.4 < np.mean(entries**4) < 3.6


def test_a_perturbation_comes_after_its_absolute_step(perturbed, tmp_path):
  """Before step 3 a training step still follows: the distance is another."""
  settings = moved(
    0.5, 2, name="early", replicates=1, connectivity__levels=(0,)
  )
  workdir = copy_of(perturbed, tmp_path)
  run_tiny(workdir, **settings)
  for move in moves(children_of(plan_of(workdir, **settings))):
    assert abs(norm_of(move) - 0.5) > 0.01


def test_a_vanishing_perturbation_leaves_the_child_beside_its_sibling(
  perturbed, tmp_path
):
  """The order of the data is the same: only then are they as near."""
  distances = {}
  for differ in ("perturb", "order"):
    settings = moved(
      1e-4,
      T_R,
      name=differ,
      replicates=1,
      connectivity__differ=differ,
      connectivity__levels=(0,),
      connectivity__children=2,
    )
    workdir = copy_of(perturbed, tmp_path / differ)
    run_tiny(workdir, **settings)
    (move,) = moves(children_of(plan_of(workdir, **settings)))
    distances[differ] = norm_of(move)
  assert 0 < distances["perturb"] < 0.05 < 0.5 < distances["order"]


@pytest.mark.parametrize("step,kills", [(3, (2, 3, 4)), (T_R, (2,))])
def test_a_killed_perturbed_child_goes_on_where_it_was(
  perturbed, tmp_path, monkeypatch, step, kills
):
  """Killed before, at and after the step, it is moved once all the same."""
  settings = moved(
    0.4,
    step,
    name="again",
    replicates=1,
    connectivity__levels=(0,),
    execution__checkpoint_seconds=0.0,
  )
  whole, cut = (copy_of(perturbed, tmp_path / n) for n in ("whole", "cut"))
  run_tiny(whole, **settings)
  save = Checkpoint.save
  for killed_at in kills:

    def save_and_die(self, at, artefact):
      save(self, at, artefact)
      if at == killed_at:
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
      run_tiny(cut, **settings)
    left = [f.name for f in (cut / "checkpoints").glob("*/*")]
    assert f"{killed_at:09d}" in left
  monkeypatch.setattr(Checkpoint, "save", save)
  run_tiny(cut, **settings)
  one, two = (children_of(plan_of(w, **settings)) for w in (whole, cut))
  assert len(one) == len(two) == 3
  for a, b in zip(one, two, strict=True):
    chex.assert_trees_all_equal(a.tree, b.tree)
    assert a.record["travelled"] == b.record["travelled"]
  assert not list((cut / "checkpoints").glob("*/*"))
