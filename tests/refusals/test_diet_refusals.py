"""Bad data diets: refused in one line before anything is written."""

import numpy as np
import pytest

from imp_jax.data.score_files import save_scores
from tests.tiny import run_tiny
from tests.tiny_diet import diet


def test_scores_of_other_data_are_refused(finished_diet, tmp_path, mnist):
  workdir, results, _ = finished_diet
  file = workdir / "studies" / results.study / "scores" / "el2n.npy"
  with pytest.raises(ValueError, match="it is of other data.*fingerprint is"):
    run_tiny(
      tmp_path / "w",
      **diet(
        scores__file=str(file),
        pretrain__subset__score="file",
        data__generator_seed=1,
      ),
    )
  short = str(tmp_path / "short.npy")
  save_scores(
    short, np.zeros(80), mnist, {"score": "x", "larger_is_harder": True}
  )
  np.save(short, np.zeros(79))
  with pytest.raises(ValueError, match="79 scores for 80 training examples"):
    run_tiny(
      tmp_path / "w", **diet(scores__file=short, pretrain__subset__score="file")
    )
  assert not (tmp_path / "w" / "objects").exists()


@pytest.mark.parametrize(
  "changes,message",
  [
    (
      dict(scores__bn_mode="batch", scores__compute=("grand",)),
      "scores.bn_mode='batch' is defined for el2n, not for grand",
    ),
    (
      dict(scores__file="scores.npz", pretrain__subset__score="file"),
      "are .npy or .csv files, got",
    ),
    (
      dict(scores__file="none.npy", pretrain__subset__score="file"),
      "scores.file none.npy: no such file",
    ),
    (dict(scores__file="none.npy"), "no subset asks for it by"),
    (
      dict(pretrain__subset__score="file"),
      "pretrain.subset.score='file' needs scores.file",
    ),
    (
      dict(scores__compute=("tdds",), scores__window=5),
      "tdds needs 5 observations; scores.steps = 4 steps make 4",
    ),
    (dict(scores__model__name="resnet20"), "resnet20 takes images"),
  ],
)
def test_bad_diets_are_refused_and_nothing_is_written(
  tmp_path, changes, message
):
  with pytest.raises((ValueError, OSError), match=message):
    run_tiny(tmp_path / "w", **diet(**changes))
  assert not (tmp_path / "w" / "objects").exists()


@pytest.mark.parametrize(
  "subset,message",
  [
    (dict(kind="easy"), r"pretrain.subset.size must be .* in 1..80, got 0"),
    (dict(kind="random", size=81), "in 1..80, got 81"),
    (
      dict(kind="hard", size=50, offset=31),
      "asks for 50 examples after skipping 31 of the training set.* has 80",
    ),
    (
      dict(kind="random", size=80, balanced=True),
      r"asks for 8 examples of class \d, which has",
    ),
    (dict(kind="random", size=5, offset=5), "offset is for 'easy' and 'hard'"),
    (
      dict(kind="ccs", size=75, drop_hardest=0.1),
      "asks for 75 examples of the training set, which has 80 and 8 of them",
    ),
    (dict(kind="easy", size=5, drop_hardest=0.5), "drop_hardest is for 'ccs'"),
    (
      dict(kind="ccs", size=5, score="forgetting"),
      "needs finite scores; set scores.never_learned",
    ),
    (dict(kind="none"), "means no pre-training"),
    (dict(kind="keep_list"), "needs pretrain.subset.file"),
    (dict(kind="keep_list", file="no.npy"), "no.npy: no such file"),
  ],
)
def test_bad_subsets_are_refused_and_nothing_is_written(
  tmp_path, subset, message
):
  fields = {f"pretrain.subset.{k}": v for k, v in subset.items()}
  with pytest.raises((ValueError, OSError), match=message):
    run_tiny(
      tmp_path / "w",
      **diet(experiments=({"name": "a", "pretrain.steps": "1step"} | fields,)),
    )
  assert not (tmp_path / "w" / "objects").exists()
