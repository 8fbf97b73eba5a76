"""More steps of pre-training for a study to rewind to.

  python -m launch.sweep --config=configs/mnist1d.py \
    --sweep=configs/sweeps/rewinding.py --workdir=runs/sweep
"""

STEPS = (10, 25, 50, 200)


def get_sweep():
  """Returns experiments as a config's `experiments` are written."""
  return [{"name": f"all-{n}", "pretrain.steps": f"{n}step"} for n in STEPS]
