"""Scoring networks: one training, resumed, failing, however executed."""

import numpy as np
import pytest

from imp_jax.core.store import Checkpoint
from imp_jax.scores import SCORES
from imp_jax.study import execute, prepare
from tests.tiny import Log, run_tiny, tiny_config
from tests.tiny_diet import NETWORKS, SCORE_STEPS, diet


def test_every_score_comes_from_one_training(tmp_path):
  # Barriers are of the study's own networks: test_barrier_score.py.
  definitions = {n: d for n, d in SCORES.items() if n != "barrier"}
  results, log = run_tiny(
    tmp_path, **diet(experiments=(), scores__compute=tuple(definitions))
  )
  trained = [label for label in log.nodes if label.count("per network") > 1]
  assert len(trained) == 1
  assert log.total == NETWORKS * SCORE_STEPS
  for name, definition in definitions.items():
    scores = results.scores(name)
    assert scores.values.shape == (80,) and scores.values.dtype == np.float32
    assert not np.isnan(scores.values).any()
    record = scores.record
    assert record["score"] == name
    assert record["formula"] == definition.version
    assert record["larger_is_harder"] is definition.larger_is_harder
    assert record["networks"] == (NETWORKS if definition.needs_network else 1)
    assert record["made_with"]["execution"] == "threads"
    if definition.needs_network:
      assert (
        record["definition"]["training"]["stream"]["fingerprint"]
        == (record["fingerprint"])
      )
  table = results.read_table("reliability")
  assert set(table.score) == {
    n for n, d in definitions.items() if d.needs_network
  }
  # One more score later: the others stay, it costs a training of its own.
  _, log = run_tiny(
    tmp_path,
    **diet(
      name="later",
      experiments=(),
      scores__compute=("el2n",),
      scores__steps="3step",
    ),
  )
  assert log.total == NETWORKS * 3


def test_scores_do_not_depend_on_what_else_watches(finished_diet, tmp_path):
  alone = finished_diet[1].scores("el2n").values
  results, _ = run_tiny(
    tmp_path,
    **diet(
      experiments=(),
      scores__compute=("el2n", "aum", "grand", "vog"),
      scores__observe="presentation",
      scores__steps="10step",
      scores__at_steps=(f"{SCORE_STEPS}step",),
    ),
  )
  np.testing.assert_array_equal(results.scores("el2n").values, alone)


def test_a_killed_scoring_goes_on_where_it_was(tmp_path, monkeypatch):
  """Streams, sums, checkpoints and presentations survive bit for bit."""
  settings = diet(
    experiments=(),
    scores__compute=("el2n", "forgetting", "vog"),
    scores__networks=2,
    scores__at_steps=("1step", "3step"),
    execution__chunk_steps=1,
    execution__checkpoint_seconds=0.0,
    scores__steps="9step",
  )
  for observe in ("evaluation", "presentation"):
    settings["scores__observe"] = observe
    if observe == "presentation":  # 80 examples at batch 16: 5 steps an epoch
      settings["scores__steps"] = "10step"
    whole, _ = run_tiny(tmp_path / f"whole-{observe}", **settings)
    killed = str(tmp_path / f"killed-{observe}")
    saves = []
    save = Checkpoint.save

    def save_and_die(self, step, artefact):
      save(self, step, artefact)
      saves.append(step)
      if step == 7:
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
      run_tiny(killed, **settings)
    monkeypatch.setattr(Checkpoint, "save", save)
    assert max(saves) == 7
    log = Log()
    config = tiny_config(**settings)
    resumed = execute(prepare(config, killed), log)
    assert log.done == log.total
    for name in settings["scores__compute"]:
      np.testing.assert_array_equal(
        resumed.scores(name).values, whole.scores(name).values
      )
    left = tmp_path / f"killed-{observe}" / "checkpoints"
    assert not [f for f in left.rglob("*") if f.is_file()]


def test_a_scoring_network_that_fails_ends_what_needs_it(tmp_path):
  results, log = run_tiny(tmp_path, **diet(scores__optim__learning_rate=1e30))
  assert any("scoring network" in w and "not finite" in w for w in log.warnings)
  failed = (
    (tmp_path / "studies" / results.study / "failures.txt")
    .read_text()
    .splitlines()
  )
  assert len(failed) == len(set(failed))
  assert sum("not finite" in line for line in failed) == NETWORKS
  assert (
    "not run for want of these: easy pre-training, replicates 0, 1" in failed
  )
  done = set(results.table.experiment)
  assert done == {"none", "all", "random"}


def test_el2n_in_batch_mode_is_another_score(finished_diet, tmp_path):
  results, _ = run_tiny(
    tmp_path,
    **diet(experiments=(), scores__compute=("el2n",), scores__bn_mode="batch"),
  )
  batch = results.scores("el2n")
  assert batch.record["definition"]["batch_size"] == 16
  assert batch.record["bn_mode"] == "batch"
  evaluated = finished_diet[1].scores("el2n").values
  assert not np.allclose(batch.values, evaluated, atol=1e-3)
  # Exactly reproducible whatever batches evaluation uses elsewhere.
  again, _ = run_tiny(
    tmp_path / "again",
    **diet(
      experiments=(),
      scores__compute=("el2n",),
      scores__bn_mode="batch",
      execution__eval_batch_size=7,
    ),
  )
  np.testing.assert_array_equal(again.scores("el2n").values, batch.values)


WATCHED = diet(
  experiments=(),
  scores__compute=("el2n", "grand", "forgetting", "vog"),
  scores__observe="presentation",
  scores__steps="10step",
  scores__at_steps=("2step",),
)


@pytest.fixture(scope="module")
def in_threads(tmp_path_factory):
  results, _ = run_tiny(tmp_path_factory.mktemp("threads"), **WATCHED)
  return results


@pytest.mark.parametrize(
  "execution",
  [
    dict(execution__replicates_at_once=2),
    pytest.param(dict(execution__mode="map"), marks=pytest.mark.long),
    pytest.param(dict(execution__mode="unroll"), marks=pytest.mark.long),
    dict(execution__mode="vmap"),
  ],
)
def test_scores_are_the_same_however_networks_are_executed(
  tmp_path, in_threads, execution
):
  """Bit for bit alone and in company; to rounding where batched."""
  results, _ = run_tiny(tmp_path, **WATCHED, **execution)
  batched = execution.get("execution__mode") == "vmap"
  for name in WATCHED["scores__compute"]:
    a, b = (r.scores(name).values for r in (in_threads, results))
    if batched and name != "forgetting":
      # 1e-5 over the first steps; vog looks at step 10 too, and standardises.
      tolerance = 1e-2 if name == "vog" else 1e-5
      np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    elif batched:
      assert np.mean(a == b) > 0.9  # an event may tip over by rounding
    else:
      np.testing.assert_array_equal(a, b)


def test_a_late_divergence_leaves_earlier_scores_alone(tmp_path):
  results, log = run_tiny(
    tmp_path,
    **diet(
      experiments=(),
      scores__compute=("el2n", "aum"),
      scores__at_steps=("0step",),
      scores__optim__learning_rate=1e30,
    ),
  )
  assert np.isfinite(results.scores("el2n").values).all()
  assert len(log.warnings) == NETWORKS


def test_resuming_takes_scores_in_any_order_and_fewer(tmp_path, monkeypatch):
  settings = diet(
    experiments=(),
    scores__compute=("forgetting", "aum", "el2n"),
    scores__observe="presentation",
    scores__steps="10step",
    scores__networks=2,
    execution__chunk_steps=1,
    execution__checkpoint_seconds=0.0,
  )
  whole, _ = run_tiny(tmp_path / "whole", **settings)
  save = Checkpoint.save

  def save_and_die(self, step, artefact):
    save(self, step, artefact)
    if step == 7:
      raise KeyboardInterrupt

  monkeypatch.setattr(Checkpoint, "save", save_and_die)
  with pytest.raises(KeyboardInterrupt):
    run_tiny(tmp_path / "killed", **settings)
  steps = []

  def note(self, step, artefact):
    steps.append(step)
    save(self, step, artefact)

  monkeypatch.setattr(Checkpoint, "save", note)
  fewer = settings | dict(scores__compute=("aum", "forgetting"), name="fewer")
  resumed, _ = run_tiny(tmp_path / "killed", **fewer)
  for name in ("aum", "forgetting"):
    np.testing.assert_array_equal(
      resumed.scores(name).values, whole.scores(name).values
    )
  # Network 0 went on from step 7.
  assert steps.count(8) == 2 and steps.count(7) == 1


def test_scores_that_need_no_network_are_of_their_data(tmp_path):
  """Another data set in the same workdir does not get them."""
  settings = diet(experiments=(), scores__compute=("input_norm", "random"))
  one, _ = run_tiny(tmp_path, **settings)
  two, _ = run_tiny(tmp_path, **settings, name="other", data__generator_seed=1)
  for name in ("input_norm", "random"):
    a, b = (r.scores(name) for r in (one, two))
    assert a.record["fingerprint"] != b.record["fingerprint"]
  a, b = (r.scores("input_norm").values for r in (one, two))
  assert not np.array_equal(a, b)


def test_what_a_score_cannot_see_is_no_part_of_it(tmp_path):
  """Later milestones, and pre-training's optimiser without pre-training."""
  settings = diet(experiments=diet()["experiments"][:1], replicates=1)
  settings |= dict(scores__compute=("el2n",))
  run_tiny(tmp_path, **settings)
  _, log = run_tiny(
    tmp_path,
    **settings,
    name="other",
    scores__optim__milestones=("50step",),
    pretrain__optim__learning_rate=0.05,
  )
  # The main milestone, step 2, is seen by scores of step 4 and gone now.
  assert log.nodes == ["el2n per network", "el2n over 3 networks"]
  _, log = run_tiny(
    tmp_path,
    **settings,
    name="third",
    scores__optim__milestones=("60step",),
  )
  assert log.nodes == []
