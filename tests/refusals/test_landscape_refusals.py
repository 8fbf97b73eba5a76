"""Bad landscapes: refused in one line before anything is written."""

import pytest

from imp_jax.study import prepare
from tests.tiny import changed_config, tiny_config
from tests.tiny_landscape import ALPHAS, connected, looked_at

NAN, INF = float("nan"), float("inf")
PERTURB = dict(connectivity__differ="perturb", connectivity__perturb_norm=0.1)
AT_2 = PERTURB | dict(connectivity__perturb_step="2step")
WITH_ENDS = (0.0, *ALPHAS, 1.0)


@pytest.fixture(autouse=True)
def loaded(monkeypatch, mnist):
  """The data are read once: there are many configs here."""
  monkeypatch.setattr("imp_jax.study.run.load_study_data", lambda *_: mnist)


def refused(tmp_path, settings, message):
  """Checks that a config is refused with one line that matches."""
  workdir = tmp_path / "new"
  config = changed_config(tiny_config(), settings, any_type=True)
  with pytest.raises(ValueError, match=message) as error:
    prepare(config, str(workdir))
  assert "\n" not in str(error.value)
  assert not workdir.exists()


CONNECTIVITY = [
  (dict(children=1), "connectivity.children must be 0 or at least 2.* got 1"),
  (
    dict(levels=(1,)),
    r"connectivity.levels must be a whole number in 0..0, got 1",
  ),
  (dict(levels=()), "connectivity.levels must name a level"),
  (
    dict(alphas=(-0.1, 0.5)),
    r"connectivity.alphas must be in \[0, 1\] unless extrapolation .* \[-0.1\]",
  ),
  (dict(alphas=(0.5, 1.5)), r"connectivity.alphas must be in .*\[1.5\]"),
  (
    dict(alphas=(0.5, 0.2)),
    r"connectivity.alphas must increase, got \(0.5, 0.2",
  ),
  (dict(alphas=(0.5, 0.5)), "connectivity.alphas must increase, got"),
  (
    dict(splits=("valid",)),
    "unknown connectivity.splits 'valid'; known: test, train",
  ),
  (dict(splits=()), "connectivity.splits .* must not be empty"),
  (dict(batch_stats=()), "connectivity.*batch_stats must not be empty"),
  (
    dict(batch_stats=("recompute",), recompute_batches=6),
    "connectivity.recompute_batches must be .* in 1..5, got 6",
  ),
  # Successive levels need levels, with children and without.
  (dict(successive=True), "connectivity.successive .* prune.levels must be at"),
  (dict(successive=True, children=0), "connectivity.successive joins levels"),
]


@pytest.mark.parametrize(
  "fields,message", CONNECTIVITY, ids=[str(c[0]) for c in CONNECTIVITY]
)
def test_bad_connectivity_is_refused(tmp_path, fields, message):
  fields = {f"connectivity__{k}": v for k, v in fields.items()}
  refused(tmp_path, connected(**fields), message)


EQUAL = [
  (
    dict(connectivity__differ="augment"),
    "connectivity.differ='augment' needs augmentation .data.crop_pad or data",
  ),
  (
    dict(data__batch_size=80),
    "connectivity.differ='order' needs more than one batch per epoch",
  ),
  (
    dict(data__batch_size=80, connectivity__differ="both"),
    "connectivity.differ='both' needs more than one batch per epoch",
  ),
  (
    dict(train__subset={"kind": "random", "size": 10}),
    "connectivity.differ='order' needs more than one batch per epoch",
  ),
  (AT_2 | dict(connectivity__perturb_norm=0.0), "perturb_norm must be > 0"),
  # Its default is step 0, before W_r is there; step 5 is the end.
  (
    PERTURB,
    "connectivity.perturb_step must be .*1 <= step < 5, got 0",
  ),
  (
    PERTURB | dict(connectivity__perturb_step="5step"),
    "connectivity.perturb_step must be .*1 <= step < 5, got 5",
  ),
  # Fine-tuning of a sparse level goes on after the end: it is never moved.
  (
    AT_2
    | dict(
      prune__levels=1,
      ticket__kind="finetune",
      ticket__finetune_steps="2step",
      connectivity__levels=(1,),
    ),
    "connectivity.perturb_step",
  ),
]


@pytest.mark.parametrize(
  "changes,message", EQUAL, ids=[str(c[0]) for c in EQUAL]
)
def test_children_that_would_be_equal_are_refused(tmp_path, changes, message):
  refused(tmp_path, connected(**changes), message)


LOOKS = [
  (dict(curvature__levels=(3,)), r"curvature.levels must be .* 0..2, got 3"),
  (dict(curvature__matrices=()), "curvature.matrices must name some of hessia"),
  (dict(curvature__examples=81), r"curvature.examples must be .* 1..80, got"),
  (
    dict(curvature__eigenvalues=31),
    r"curvature.eigenvalues must be .* 1..30, got 31",
  ),
  (
    dict(connectivity__children=0),
    "planes.through='children' needs connectivity.children >= 2, got 0",
  ),
  (dict(planes__levels=(0, 1, 3)), r"planes.levels must be .* 0..2, got 3"),
  (dict(planes__levels=(0, 1)), "planes.levels must be three different levels"),
  (dict(planes__levels=(0, 1, 1)), r"three different levels, got \(0, 1, 1\)"),
  (dict(planes__examples=81), r"planes.examples must be .* 1..80, got 81"),
  (dict(planes__snapshots=1), "planes.snapshots must be"),
  (dict(planes__recompute_batches=6), r"planes.recompute_batches .* 1..5, got"),
]


@pytest.mark.parametrize(
  "changes,message", LOOKS, ids=[str(c[0]) for c in LOOKS]
)
def test_bad_curvature_and_planes_are_refused(tmp_path, changes, message):
  refused(tmp_path, looked_at(**changes), message)


TWO = ({"name": "all"}, {"name": "none", "pretrain.steps": "0step"})
CLAIMS = [
  (
    dict(),
    dict(experiments=("all", "non")),
    "unknown claims.connected.experiments 'non'; known: all, none; did you",
  ),
  (dict(connectivity__children=0), dict(), "claims.connected needs at least"),
  (
    dict(connectivity__children=0),
    dict(experiments=("all", "none")),
    "claims.connected needs .* whose W_r have children.*without: all, none",
  ),
  (dict(connectivity__levels=(1,)), dict(), "claims.connected needs .* with 0"),
  (dict(), dict(experiments=("all",)), "claims.connected needs at least two"),
  (dict(), dict(level=2), r"claims.connected.level must be .* 0..1, got 2"),
  (
    dict(),
    dict(level=0, experiments=("all", "none")),
    "claims.connected.level must be at least 1, got 0",
  ),
  (
    dict(connectivity__splits=("test",)),
    dict(),
    "claims.connected needs 'train' in connectivity.splits",
  ),
  (
    dict(connectivity__alphas=(0.25,)),
    dict(),
    "claims.connected needs 0.5 in connectivity.alphas",
  ),
  (
    dict(connectivity__batch_stats=("endpoint",)),
    dict(),
    "claims.connected needs connectivity.batch_stats 'average'",
  ),
]


@pytest.mark.parametrize(
  "changes,claim,message", CLAIMS, ids=[str(c[:2]) for c in CLAIMS]
)
def test_claims_of_what_is_not_measured_are_refused(
  tmp_path, changes, claim, message
):
  claim = {"threshold": 0.1, "level": 1, "experiments": ()} | claim
  settings = connected(
    prune__levels=1, experiments=TWO, claims__connected=claim
  )
  refused(tmp_path, settings | changes, message)


@pytest.mark.parametrize(
  "changes,alphas",
  [
    (dict(connectivity__children=0, connectivity__levels=(7,)), None),
    (
      dict(
        connectivity__alphas=(-1.0, 0.5, 2.0), connectivity__extrapolate=True
      ),
      (-1.0, 0.0, 0.5, 1.0, 2.0),
    ),
    (dict(connectivity__alphas=()), (0.0, 1.0)),
    (PERTURB | dict(connectivity__perturb_step="1step"), WITH_ENDS),
    (
      PERTURB | dict(connectivity__perturb_step="4step", data__batch_size=80),
      WITH_ENDS,
    ),
    (
      dict(
        prune__levels=1,
        claims__connected={
          "threshold": 0.2,
          "level": 1,
          "experiments": ("all", "none"),
        },
      ),
      WITH_ENDS,
    ),
  ],
  ids=["off", "extrapolate", "ends", "first", "last", "claim"],
)
def test_the_nearest_that_is_allowed_is_looked_at(tmp_path, changes, alphas):
  """Nothing where children are off, or else a path of each experiment."""
  settings = connected(experiments=TWO) | changes
  views = prepare(tiny_config(**settings), str(tmp_path)).views
  assert [
    (v.experiment, v.kind, v.level, v.node.stage.path.alphas) for v in views
  ] == [(e["name"], "children", 0, alphas) for e in TWO if alphas]
