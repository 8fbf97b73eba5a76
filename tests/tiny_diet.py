"""A tiny data-diet study, for tests."""

NO_CLAIM = {"treatments": ()}


NETWORKS, SCORE_STEPS = 3, 4


def diet(**changes):
  """Five variants at t_r = 1 and few scoring networks, no tickets."""

  def one(kind, **fields):
    own = {"kind": kind, "size": 20} | fields
    return {
      "name": kind,
      "pretrain.steps": "1step",
      **{f"pretrain.subset.{k}": v for k, v in own.items()},
    }

  settings = dict(
    claims__rewinding=NO_CLAIM,
    prune__levels=0,
    eval__splits=("test",),
    scores__networks=NETWORKS,
    scores__steps=f"{SCORE_STEPS}step",
    scores__every="1step",
    scores__window=3,
    scores__checkpoints=2,
    experiments=(
      {"name": "none"},
      {"name": "all", "pretrain.steps": "1step"},
      one("random"),
      one("easy"),
      one("hard"),
    ),
  )
  return settings | changes
