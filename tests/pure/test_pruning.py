"""Score, allocate, select: hand tables and laws."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import (
  density,
  init_masks,
  kept_counts,
  nested_leaves,
  regrown_leaf,
)
from imp_jax.models import make_model
from imp_jax.pruning import (
  CRITERIA,
  Network,
  drop_counts,
  excluded_count,
  leaf_groups,
  select_masks,
)
from imp_jax.pruning.select import above_threshold, all_but_smallest

MODEL = make_model("lenet300100", num_classes=2, input_shape=(3,), conv="plain")
# Survivors' scores ascending; q; what the paper's rule and the exact one keep.
TABLE = [
  # q = 1: the threshold is the second smallest, kept are those strictly above.
  ([4.0, 1.0, 3.0, 2.0], [1, 1, 1, 1], 1, [1, 0, 1, 0], [1, 0, 1, 1]),
  # Ties at the threshold all go.
  ([2.0, 2.0, 2.0, 5.0], [1, 1, 1, 1], 1, [0, 0, 0, 1], [0, 1, 1, 1]),
  # Removed weights neither count nor come back, whatever their score.
  ([9.0, 1.0, 3.0, 2.0], [0, 1, 1, 1], 1, [0, 0, 1, 0], [0, 0, 1, 1]),
  # q = 0 leaves the group alone.
  ([4.0, 1.0, 3.0, 2.0], [1, 1, 0, 1], 0, [1, 1, 0, 1], [1, 1, 0, 1]),
  # q = all: nothing is left.
  ([4.0, 1.0, 3.0, 2.0], [1, 1, 1, 0], 3, [0, 0, 0, 0], [0, 0, 0, 0]),
]


@pytest.mark.parametrize("score,alive,drop,threshold,exact", TABLE)
def test_selection_tables(score, alive, drop, threshold, exact):
  args = jnp.array(score), jnp.array(alive, bool), jnp.int32(drop)
  assert above_threshold(*args).tolist() == [bool(x) for x in threshold]
  assert all_but_smallest(*args).tolist() == [bool(x) for x in exact]


@pytest.mark.parametrize(
  "alive,fraction,q",
  [
    (270_896, 0.2, 54_180),  # 54,179.2 rounded up
    (10, 0.2, 2),
    (11, 0.2, 3),
    (100, 0.07, 7),  # 0.07 * 100 = 7.000000000000001 in floating point
    (1, 0.2, 1),
    (0, 0.2, 0),
  ],
)
def test_drop_counts_are_exact_integers(alive, fraction, q):
  assert drop_counts([alive], [270_896], fraction=fraction) == (q,)


def test_drop_counts_to_a_density():
  assert drop_counts([90, 40], [100, 50], fraction=0.2, density=0.5) == (40, 15)
  assert drop_counts([5], [5], fraction=0.2, density=0.5) == (2,)  # keeps 3
  with pytest.raises(ValueError, match=r"density 0.9 is above"):
    drop_counts([50], [100], fraction=0.2, density=0.9)


def test_groups():
  paths = ("conv/kernel", "head/kernel", "head2/kernel")
  assert leaf_groups(paths, allocation="global") == (paths,)
  assert leaf_groups(paths, allocation="per_layer", exclude=("head",)) == (
    ("conv/kernel",),
    ("head2/kernel",),
  )
  with pytest.raises(ValueError, match=r"'tail'.*known: conv/kernel"):
    leaf_groups(paths, allocation="global", exclude=("tail",))
  with pytest.raises(ValueError, match="unknown allocation 'local'"):
    leaf_groups(paths, allocation="local")
  with pytest.raises(ValueError, match="no layer to prune"):
    leaf_groups(paths, allocation="global", exclude=("conv", "head", "head2"))


def make_params(rng):
  return {
    "conv": {"kernel": jnp.asarray(rng.normal(size=(3, 2, 40)) * 0.1)},
    "head": {
      "kernel": jnp.asarray(rng.normal(size=(40, 5))),
      "bias": jnp.zeros(5),
    },
  }


def scores_of(criterion, params, key):
  """Of criteria that look at the weights alone."""
  return CRITERIA[criterion].scores(Network(params, {}, key), MODEL)


PRUNABLE = ("conv/kernel", "head/kernel")


@pytest.mark.parametrize("allocation", ["global", "per_layer"])
@pytest.mark.parametrize("rule", ["threshold", "exact"])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_ten_levels_nest_and_match_numpy(rng, key, criterion, rule, allocation):
  params = make_params(rng)
  masks = init_masks(params)
  groups = leaf_groups(PRUNABLE, allocation=allocation)
  for level in range(10):
    scores = scores_of(criterion, params, jax.random.fold_in(key, level))
    counts = kept_counts(masks, PRUNABLE)
    alive = [sum(counts[p] for p in group) for group in groups]
    drops = drop_counts(alive, alive, fraction=0.2)
    new = select_masks(
      scores, masks, jnp.asarray(drops), groups=groups, rule=rule
    )
    assert regrown_leaf(new, masks) is None
    for group, q, n in zip(groups, drops, alive, strict=True):
      leaf = lambda t, p: np.asarray(t[p.split("/")[0]]["kernel"]).ravel()
      s = np.concatenate([leaf(scores, p) for p in group])
      old = np.concatenate([leaf(masks, p) for p in group])
      got = np.concatenate([leaf(new, p) for p in group])
      ranked = np.sort(s[old])
      if rule == "threshold":
        assert (got == (old & (s > ranked[q]))).all()
        assert got.sum() == n - q - 1
      else:
        assert got.sum() == n - q
        assert s[got].min() >= ranked[q]
    assert np.asarray(new["head"]["bias"]).all()
    masks = new
  assert 0.07 < density(masks, PRUNABLE) < 0.8**10 + 0.01


def test_global_magnitude_does_not_normalise_per_layer(rng, key):
  params = make_params(rng)  # the conv's weights are ten times smaller
  masks = select_masks(
    scores_of("magnitude", params, key),
    init_masks(params),
    jnp.array([220]),
    groups=(PRUNABLE,),
    rule="exact",
  )
  kept = kept_counts(masks, PRUNABLE)
  assert kept["conv/kernel"] < 60 and kept["head/kernel"] > 160


# The paper's rule with the first 1, 2, ... of a ResNet-20's layers left out: q
# of all 270,896 weights, in which those count that are left out.
RESNET20 = {
  "stem/kernel": 432,
  "stage1/kernel": 6 * 2304,
  "stage2/kernel": 4608 + 5 * 9216 + 512,
  "stage3/kernel": 18432 + 5 * 36864 + 2048,
  "head/kernel": 640,
}


@pytest.mark.parametrize(
  "exclude,excluded,free,kept",
  [
    ((), 0, 270_896, 216_715),
    (("head",), 640, 270_256, 216_075),
    (("stem", "head"), 1072, 269_824, 215_643),
    (("stem", "stage1", "head"), 14_896, 256_000, 201_819),
    (("stem", "stage1", "stage2", "head"), 66_096, 204_800, 150_619),
  ],
)
def test_excluded_layers_count_among_the_survivors(
  exclude, excluded, free, kept
):
  """54,180 + 1 go of whatever is left: the density follows 0.8 ** k."""
  paths = tuple(RESNET20)
  groups = leaf_groups(paths, allocation="global", exclude=exclude)
  found = excluded_count(
    RESNET20, groups, allocation="global", rule="threshold"
  )
  assert found == excluded and sum(RESNET20.values()) == 270_896
  (drop,) = drop_counts([free], [free], fraction=0.2, excluded=found)
  assert (drop, free - drop - 1) == (54_180, kept)
  # Under the other rule and allocation, of their own alone.
  for other in (("global", "exact"), ("per_layer", "threshold")):
    allocation, rule = other
    split = leaf_groups(paths, allocation=allocation, exclude=exclude)
    assert not excluded_count(RESNET20, split, allocation=allocation, rule=rule)


def test_five_excluded_layers_and_the_total_density(rng, key):
  """What is pruned at a level lies in [0.2, 0.2001) of all survivors."""
  shapes = {f"layer{i}/kernel": (40, 50) for i in range(10)}
  params = nested_leaves(
    {p: jnp.asarray(rng.normal(size=s)) for p, s in shapes.items()}
  )
  exclude = tuple(f"layer{i}" for i in range(5))
  groups = leaf_groups(tuple(shapes), allocation="global", exclude=exclude)
  masks, kept = init_masks(params), [20_000]
  counts = {p: 2000 for p in shapes}
  for _ in range(2):
    drops = drop_counts(
      [kept[-1] - 10_000],
      [10_000],
      fraction=0.2,
      excluded=excluded_count(
        counts, groups, allocation="global", rule="threshold"
      ),
    )
    masks = select_masks(
      scores_of("magnitude", params, key),
      masks,
      jnp.asarray(drops),
      groups=groups,
      rule="threshold",
    )
    kept.append(sum(kept_counts(masks, tuple(shapes)).values()))
  assert kept == [20_000, 15_999, 12_798]  # 4,000 + 1, then 3,200 + 1
  for before, after in itertools.pairwise(kept):
    assert 0.2 <= 1 - after / before < 0.2001
  assert all(
    n == 2000 for n in list(kept_counts(masks, tuple(shapes)).values())[:5]
  )


def test_a_layer_left_out_is_untouched(rng, key):
  params = make_params(rng)
  groups = leaf_groups(PRUNABLE, allocation="global", exclude=("head",))
  masks = select_masks(
    scores_of("magnitude", params, key),
    init_masks(params),
    jnp.array([10]),
    groups=groups,
    rule="exact",
  )
  assert kept_counts(masks, PRUNABLE) == {
    "conv/kernel": 230,
    "head/kernel": 200,
  }


def test_vectorised_over_replicates_equals_one_at_a_time(key):
  params = [make_params(np.random.default_rng(r)) for r in range(3)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *params)
  masks = jax.vmap(init_masks)(stacked)
  drops = jnp.array([[40], [90], [200]])
  select = functools.partial(select_masks, groups=(PRUNABLE,), rule="threshold")
  together = jax.jit(jax.vmap(select))(
    jax.tree.map(jnp.abs, stacked), masks, drops
  )
  for r in range(3):
    alone = select(
      jax.tree.map(jnp.abs, params[r]), init_masks(params[r]), drops[r]
    )
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[r], together), alone)


def test_scores_of_what_training_did_by_hand():
  network = Network(
    params={"head": {"kernel": jnp.array([[0.5, -2.0], [0.0, 1.0]])}},
    batch_stats={},
    key=jax.random.key(0),
    initial={"head": {"kernel": jnp.array([[-0.5, -1.5], [0.25, 3.0]])}},
  )
  for name, expected in (
    ("magnitude_increase", [[0.0, 0.5], [-0.25, -2.0]]),
    ("movement", [[1.0, 0.5], [0.25, 2.0]]),
  ):
    scores = CRITERIA[name].scores(network, MODEL)
    assert scores["head"]["kernel"].tolist() == expected
    assert CRITERIA[name].needs_initial
