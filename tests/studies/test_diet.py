"""The data diet in studies: sharing, subsets, noise, provenance, resuming."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import imp_jax
from imp_jax.core.keys import key_words, named_key
from imp_jax.core.store import Store
from imp_jax.data.subsets import noisy_labels
from imp_jax.statistics.intervals import rank_correlation
from tests.tiny import random_arrays, run_tiny, write_npz
from tests.tiny_diet import NETWORKS, NO_CLAIM, SCORE_STEPS, diet


def test_five_variants_share_one_scoring(finished_diet):
  _, _, log = finished_diet
  assert log.nodes.count("el2n per network") == 1
  assert log.nodes.count(f"el2n over {NETWORKS} networks") == 1
  # Scoring once, then per replicate none's 3 steps and 4 times 1 + 2.
  assert log.total == log.done == NETWORKS * SCORE_STEPS + 2 * (3 + 4 * 3)


def test_further_networks_train_alone(finished_diet, tmp_path):
  import shutil

  workdir = shutil.copytree(finished_diet[0], tmp_path / "w")
  _, log = run_tiny(
    workdir,
    **diet(
      name="more", scores__networks=5, experiments=diet()["experiments"][3:4]
    ),
  )
  scoring = 2 * SCORE_STEPS
  assert log.total == scoring + 2 * 3  # networks 3 and 4; then "easy" anew


def test_easy_and_hard_are_the_ends_of_the_score(finished_diet, mnist):
  _, results, _ = finished_diet
  values = results.scores("el2n").values
  easy, hard = results.keep_index("easy"), results.keep_index("hard")
  assert len(easy) == len(hard) == 20
  np.testing.assert_array_equal(np.sort(values)[:20], np.sort(values[easy]))
  np.testing.assert_array_equal(np.sort(values)[-20:], np.sort(values[hard]))
  np.testing.assert_array_equal(easy, results.keep_index("easy", replicate=1))
  assert set(results.keep_index("random")) != set(
    results.keep_index("random", replicate=1)
  )
  np.testing.assert_array_equal(results.keep_index("all"), np.arange(80))
  assert len(results.keep_index("none")) == 0
  table = results.read_table("experiments")
  assert table["pretrain.subset.kind"].tolist() == [
    "none",
    "all",
    "random",
    "easy",
    "hard",
  ]
  assert table["pretrain.subset.size"].tolist() == [0, 80, 20, 20, 20]


def test_a_subset_is_all_that_pretraining_sees(tmp_path):
  """W_r of a subset equals W_r of a data set of nothing but that subset."""
  arrays = random_arrays(np.random.default_rng(3), train=40, shape=(40,))
  arrays = {s: (x / 255.0, y) for s, (x, y) in arrays.items()}
  keep = np.arange(0, 40, 3)

  def save(name, train):
    parts = {"train": train, "test": arrays["test"]}
    return write_npz(tmp_path / f"{name}.npz", parts)

  inputs, labels = arrays["train"]
  whole = save("whole", (inputs, labels))
  part = save("part", (inputs[keep], labels[keep]))
  np.save(tmp_path / "keep.npy", keep)
  shared = dict(
    claims__rewinding=NO_CLAIM,
    prune__levels=0,
    eval__splits=("test",),
    eval__curve_steps=(),
    replicates=1,
    data__source="npz",
    data__batch_size=4,
    data__mean=(0.5,),
    data__std=(0.3,),
    pretrain__steps="2step",
  )
  whole_results, _ = run_tiny(
    tmp_path / "a",
    **shared,
    data__path=whole,
    experiments=(
      {
        "name": "kept",
        "pretrain.subset.kind": "keep_list",
        "pretrain.subset.file": str(tmp_path / "keep.npy"),
      },
    ),
  )
  part_results, _ = run_tiny(
    tmp_path / "b", **shared, data__path=part, experiments=({"name": "all"},)
  )
  assert len(whole_results.keep_index("kept")) == len(keep)
  start = [
    r.ticket(e, level=0).params
    for r, e in ((whole_results, "kept"), (part_results, "all"))
  ]
  chex.assert_trees_all_equal(*start)


def test_small_subsets_repeat_for_exactly_t_r_steps(tmp_path):
  """20 examples at batch 16 are one step an epoch: 5 steps are 5 epochs."""
  results, log = run_tiny(
    tmp_path,
    **diet(
      optim__steps="7step",
      experiments=(
        {
          "name": "few",
          "pretrain.steps": "5step",
          "pretrain.subset.kind": "random",
          "pretrain.subset.size": 7,  # smaller than a batch: padded
        },
      ),
    ),
  )
  assert log.total == 2 * (5 + 2)
  ticket = results.ticket("few", level=0)
  store = Store(str(tmp_path))
  pretrained = store.load(ticket.record["inputs"]["weights"])
  assert pretrained.record["step"] == 5
  seen = [row["step"] for row in pretrained.record["history"]]
  assert seen[-1] == 5
  assert sum(pretrained.record["class_counts"]) == 7


def test_label_noise_changes_its_share_and_only_pretraining(tmp_path, mnist):
  quarter = {"pretrain.steps": "1step", "pretrain.noise.fraction": 0.25}
  results, _ = run_tiny(
    tmp_path,
    **diet(
      replicates=1,
      experiments=(
        {"name": "clean", "pretrain.steps": "1step"},
        {"name": "redrawn"} | quarter,
        {"name": "symmetric", "pretrain.noise.kind": "symmetric"} | quarter,
        {"name": "none"},
        {"name": "none-noisy", "pretrain.noise.fraction": 0.25},
      ),
    ),
  )
  store = Store(str(tmp_path))
  record = {}
  for name in ("clean", "redrawn", "symmetric", "none", "none-noisy"):
    train = results.ticket(name, level=0).record
    record[name] = store.load_record(train["inputs"]["weights"])
    # The training from W_r on has no noise among its settings.
    assert "noise" not in train["settings"]
  assert record["clean"]["changed_labels"] == 0
  assert record["symmetric"]["changed_labels"] == 20  # a quarter of 80
  assert 10 <= record["redrawn"]["changed_labels"] <= 20
  words = key_words(named_key(jax.random.key(0), "label_noise"))
  labels = noisy_labels(
    np.asarray(mnist.train.labels),
    kind="redrawn",
    fraction=0.25,
    num_classes=10,
    words=words,
  )
  assert record["redrawn"]["class_counts"] == np.bincount(labels).tolist()
  # Without a step there is nothing that noise could change.
  assert record["none"]["inputs"] == record["none-noisy"]["inputs"] == {}
  tickets = [results.ticket(n, level=0).params for n in ("none", "none-noisy")]
  chex.assert_trees_all_equal(*tickets)


def test_scoring_sees_the_noise_unless_told_not_to(tmp_path):
  noisy = diet(
    replicates=1,
    experiments=diet()["experiments"][3:4],
    pretrain__noise__fraction=0.5,
    pretrain__noise__kind="symmetric",
  )
  seen, _ = run_tiny(tmp_path / "a", **noisy)
  unseen, _ = run_tiny(tmp_path / "b", **noisy, pretrain__noise__scoring=False)
  clean, _ = run_tiny(
    tmp_path / "c", **diet(replicates=1, experiments=noisy["experiments"])
  )
  a = seen.scores("el2n-noise50-symmetric").values
  b, c = (r.scores("el2n").values for r in (unseen, clean))
  np.testing.assert_array_equal(b, c)
  assert rank_correlation(a, c) < 0.9


def test_pretraining_has_an_optimiser_of_its_own(tmp_path):
  steps = {"pretrain.steps": "1step"}
  results, _ = run_tiny(
    tmp_path,
    **diet(
      replicates=1,
      experiments=(
        {"name": "none"},
        {"name": "main"} | steps,
        {"name": "still", "pretrain.optim.learning_rate": 0.0} | steps,
      ),
    ),
  )
  none, main, still = (
    results.ticket(name, level=0).params["head"]["kernel"]
    for name in ("none", "main", "still")
  )
  np.testing.assert_array_equal(none, still)
  assert not np.array_equal(none, main)


def test_class_sorted_and_shuffled_sources_give_one_study(tmp_path):
  """Scores, subsets and results are the same bits in any source order."""
  rng = np.random.default_rng(0)
  arrays = random_arrays(rng, train=48, shape=(40,))
  inputs, labels = arrays["train"]
  inputs, tables, scores, subsets = inputs / 255.0, [], [], []
  for order in (np.argsort(labels, kind="stable"), rng.permutation(48)):
    path = tmp_path / f"{len(tables)}.npz"
    np.savez(
      path,
      train_image=inputs[order],
      train_label=labels[order],
      test_image=arrays["test"][0] / 255.0,
      test_label=arrays["test"][1],
    )
    results, _ = run_tiny(
      tmp_path / path.stem,
      **diet(
        data__source="npz",
        data__path=str(path),
        # Never learned by any network: ties wherever they are infinite.
        pretrain__subset__score="forgetting",
      ),
    )
    tables.append(results.table)
    scores.append(results.scores("forgetting").values)
    subsets.append(results.keep_index("hard"))
  np.testing.assert_array_equal(*scores)
  np.testing.assert_array_equal(*subsets)
  assert tables[0].equals(tables[1])


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_exported_scores_come_back(finished_diet, tmp_path, suffix):
  workdir, results, _ = finished_diet
  file = workdir / "studies" / results.study / "scores" / f"el2n.{suffix}"
  record = json.loads(file.with_suffix(".json").read_text())
  assert record["score"] == "el2n" and record["networks"] == NETWORKS
  again, log = run_tiny(
    tmp_path,
    **diet(
      scores__file=str(file),
      pretrain__subset__score="file",
      experiments=diet()["experiments"][3:],
    ),
  )
  assert log.nodes[0] == "el2n from a file"
  kept = again.scores("el2n-file").record["imported"]
  assert kept == record and kept["definition"]["steps"] == [SCORE_STEPS]
  for name in ("easy", "hard"):
    np.testing.assert_array_equal(
      again.keep_index(name), results.keep_index(name)
    )


def test_unknown_scores_are_named_with_what_there_is(finished_diet):
  with pytest.raises(KeyError, match="no score 'grand'.*it has: el2n"):
    finished_diet[1].scores("grand")
  loaded = imp_jax.load(str(finished_diet[0]))
  assert jnp.isfinite(loaded.scores("el2n").values).all()
