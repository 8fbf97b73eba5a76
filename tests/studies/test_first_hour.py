"""What a new user writes and mistakes: own code, own files, own flags."""

import ast
import functools
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.command.cli import BadInput
from imp_jax.core import code
from imp_jax.core.code import code_hash
from imp_jax.engine.context import Stopped
from imp_jax.models import registry
from imp_jax.models.layers import BatchNorm
from imp_jax.models.registry import MODELS, make_model
from imp_jax.pruning.criteria import CRITERIA, Criterion
from imp_jax.results.compare import settings_apart
from imp_jax.results.load import load
from imp_jax.study import execute, prepare
from imp_jax.study.options import FIELDS
from tests.places import ROOT
from tests.tiny import (
  Log,
  copy_of,
  random_arrays,
  run_tiny,
  tiny_config,
  write_npz,
)


class Small(nn.Module):
  """A user's own network; its variants are what goes wrong with one."""

  num_classes: int
  kind: str = ""

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    x = x.reshape(len(x), -1)
    if self.kind == "dropout":
      x = nn.Dropout(0.5, deterministic=not train)(x)
    if self.kind == "flax":
      x = nn.BatchNorm(use_running_average=not train)(x)
    if self.kind == "ours":
      x = BatchNorm(name="bn")(x, train=train, weights=weights)
    classes = 3 if self.kind == "classes" else self.num_classes
    return nn.Dense(classes, name="head")(x)


class WithoutWeights(nn.Module):
  num_classes: int

  @nn.compact
  def __call__(self, x, *, train):
    return nn.Dense(self.num_classes, name="head")(x)


def makes(kind):
  return functools.partial(Small, kind=kind)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (makes("dropout"), "that draws nothing in training"),
    (makes("flax"), "use imp_jax.models.layers.BatchNorm"),
    (makes("ours"), "no field bn_momentum"),
    (makes("classes"), r"logits \(batch, 10\), got \(2, 3\)"),
    (WithoutWeights, "train, weights=None"),
  ],
)
def test_a_model_that_cannot_be_trained_is_refused_in_a_line(
  monkeypatch, tmp_path, make, message
):
  plain = lambda num_classes, **_: make(num_classes=num_classes)
  monkeypatch.setitem(MODELS, "own", (plain, 1))
  with pytest.raises(ValueError, match=message) as refused:
    prepare(
      tiny_config(model__name="own", model__width=1.0), str(tmp_path / "new")
    )
  assert "\n" not in str(refused.value)
  assert not (tmp_path / "new").exists()


def test_a_model_of_ones_own_is_trained_and_loaded(monkeypatch, tmp_path):
  monkeypatch.setitem(MODELS, "own", (Small, 1))
  results, log = run_tiny(tmp_path, model__name="own", model__width=1.0)
  assert not results.has_failures and not log.warnings
  ticket = results.ticket("none", level=1)
  assert set(ticket.params) == {"head"}


@pytest.mark.parametrize(
  ("field", "value"), [("width", 0.5), ("dtype", "bfloat16")]
)
def test_what_a_model_has_not_is_refused(monkeypatch, field, value):
  monkeypatch.setitem(MODELS, "own", (Small, 1))
  with pytest.raises(ValueError, match=f"own has no {field}: leave model."):
    make_model("own", num_classes=10, input_shape=(40,), **{field: value})


def test_ours_need_no_such_check():
  """They have tests of their own, and tracing a ResNet takes a second."""
  for name in ("conv1d", "lenet300100", "resnet1d8"):
    module = make_model(name, num_classes=2, input_shape=(16,)).module
    assert type(module).__module__ in registry._OURS


# --- Own code under one name


def smallest_first(network, model):
  """One criterion."""
  return jax.tree.map(jnp.abs, network.params)


def smallest_first_said_otherwise(network, model):
  """The same, with a comment: but for its name it is the same code."""
  # Not more than this.
  return jax.tree.map(jnp.abs, network.params)


def largest_first(network, model):
  return jax.tree.map(lambda w: -jnp.abs(w), network.params)


def test_a_criterion_may_be_registered_by_a_config_file(monkeypatch, tmp_path):
  monkeypatch.setitem(CRITERIA, "own", Criterion(smallest_first))
  assert "own" in FIELDS["prune.criterion"].range.told
  own, _ = run_tiny(tmp_path / "own", prune__criterion="own")
  plain, _ = run_tiny(tmp_path / "plain")
  values = [r.table.sort_values(list(r.table))["value"] for r in (own, plain)]
  np.testing.assert_array_equal(*values)


def test_code_that_was_changed_is_not_mixed_with_what_it_made(
  monkeypatch, tmp_path
):
  monkeypatch.setitem(CRITERIA, "own", Criterion(smallest_first))
  run_tiny(tmp_path, prune__criterion="own")
  run_tiny(tmp_path, prune__criterion="own")  # the same goes on
  monkeypatch.setitem(CRITERIA, "own", Criterion(largest_first))
  for levels in (2, 3):  # all there, or one to come
    config = tiny_config(prune__criterion="own", prune__levels=levels)
    with pytest.raises(ValueError, match="'prune.criterion own' stands for"):
      prepare(config, str(tmp_path))
  with config.unlocked():
    config.execution.mix = True
  prepare(config, str(tmp_path))
  # Another study of the workdir would share them too.
  with pytest.raises(ValueError, match="take a new --workdir"):
    prepare(tiny_config(prune__criterion="own", name="other"), str(tmp_path))
  prepare(tiny_config(name="plain"), str(tmp_path))


def test_a_model_that_was_changed(monkeypatch, tmp_path):
  monkeypatch.setitem(MODELS, "own", (Small, 1))
  run_tiny(tmp_path, model__name="own", model__width=1.0)

  class Other(Small):
    extra: int = 0

  monkeypatch.setitem(MODELS, "own", (Other, 1))
  with pytest.raises(ValueError, match="'model own' stands for was changed"):
    prepare(tiny_config(model__name="own", model__width=1.0), str(tmp_path))


class Callable1:
  def __call__(self, network, model):
    return network.params


class Callable2:
  def __call__(self, network, model):
    return jax.tree.map(jnp.negative, network.params)


def test_a_hash_of_code_is_of_what_it_does():
  one, other = smallest_first, largest_first
  assert code_hash(one) != code_hash(other)
  assert len(code_hash(one)) == 12
  assert code_hash(Criterion(one)) == code_hash(Criterion(one))
  assert code_hash(Criterion(one)) != code_hash(Criterion(other))
  assert code_hash(Criterion(one)) != code_hash(Criterion(one, True))
  assert code_hash(functools.partial(one, model=1)) != code_hash(one)
  assert code_hash(functools.partial(one, model=jnp.abs)) != code_hash(
    functools.partial(one, model=jnp.negative)
  )
  assert code_hash(Callable1()) == code_hash(Callable1())
  assert code_hash(Callable1()) != code_hash(Callable2())
  namespace = {}
  exec("def typed(x):\n  return x", namespace)
  assert code_hash(namespace["typed"]) != code_hash(len)  # no source: by name


HASHED = """
import functools, flax.linen as nn, jax, jax.numpy as jnp
from imp_jax.command.cli import BadInput
from imp_jax.core import code
from imp_jax.core.code import code_hash
from imp_jax.engine.context import Stopped
from imp_jax.models.registry import MODELS
from imp_jax.pruning.criteria import CRITERIA, Criterion, magnitude_scores
from imp_jax.scores import SCORES
own = [functools.partial(magnitude_scores, model=f) for f in (jnp.abs, nn.relu)]
known = [*CRITERIA.values(), *SCORES.values(), *(m for m, _ in MODELS.values())]
print([code_hash(x) for x in (*known, *own, *map(Criterion, own))])
"""


def test_a_hash_of_code_is_the_same_in_every_process():
  runs = [
    subprocess.run(
      [sys.executable, "-c", HASHED],
      cwd=ROOT,
      env=os.environ | {"PYTHONHASHSEED": seed},
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    for seed in ("1", "2")
  ]
  assert runs[0] == runs[1]
  hashes = ast.literal_eval(runs[0])
  assert len(set(hashes)) == len(hashes) > 20


def test_versions_of_python_do_not_change_it():
  """3.12 adds empty lists to a syntax tree, 3.13 leaves empty lists out."""
  tree = ast.parse("def f(x):\n  return None if x else 0")
  function = tree.body[0]
  told = code._dumped(tree)
  function.type_params = []
  function._fields = (*function._fields, "type_params")
  assert code._dumped(tree) == told
  assert "[]" not in told and "None" not in told
  zero, empty = (code._dumped(ast.parse(t)) for t in ("0", "''"))
  assert zero != empty != code._dumped(ast.parse("None"))


def test_a_checkpoint_of_other_code_is_not_gone_on_from(monkeypatch, tmp_path):
  monkeypatch.setitem(MODELS, "own", (Small, 1))
  changes = dict(
    model__name="own",
    model__width=1.0,
    execution__chunk_steps=1,
    execution__checkpoint_seconds=0.0,
  )

  class Ended(Log):
    def stop(self):
      return "SIGTERM" if self.done >= 2 else None

  plan = prepare(tiny_config(**changes), str(tmp_path))
  with pytest.raises(Stopped):
    execute(plan, Ended())
  assert list(tmp_path.glob("checkpoints/*/*/record.json"))

  class Other(Small):
    extra: int = 0

  monkeypatch.setitem(MODELS, "own", (Other, 1))
  with pytest.raises(ValueError, match="'model own' stands for was changed"):
    prepare(tiny_config(**changes), str(tmp_path))


def test_comments_and_docstrings_are_no_code(tmp_path, monkeypatch):
  (tmp_path / "first_x.py").write_text("def f(x):\n  return x + 1\n")
  (tmp_path / "again_x.py").write_text(
    'def f(x):\n  """Adds."""\n  # one\n  return (x\n    + 1)\n'
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  import again_x  # pyright: ignore
  import first_x  # pyright: ignore

  assert code_hash(first_x.f) == code_hash(again_x.f)


# --- Own files and flags


CONFIG = "import imp_jax\n\n\ndef get_config():\n"


@pytest.mark.parametrize(
  ("body", "message"),
  [
    ("  retrn\n", "config.py:5: NameError: name 'retrn' is not defined"),
    ("  raise KeyError('x')\n", "config.py:5: KeyError: x"),
    (
      "  c = imp_jax.get_defaults()\n  c.controls.kinds = 'reinit'\n",
      "config.py:6: TypeError: Could not override field 'kinds'",
    ),
    (
      "  import beside\n  return beside.broken()\n",
      "beside.py:2: ZeroDivisionError: division by zero",
    ),
  ],
)
def test_a_config_file_s_own_error_says_where(tmp_path, zygote, body, message):
  (tmp_path / "config.py").write_text(CONFIG + body)
  (tmp_path / "beside.py").write_text("def broken():\n  return 1 / 0\n")
  done = zygote.launch("launch.main", f"--config={tmp_path}/config.py")
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert message in line


@pytest.mark.parametrize("words", [["--config=c.py"], ["--config", "c.py"]])
def test_a_place_by_a_relative_path(tmp_path, words):
  (tmp_path / "c.py").write_text(CONFIG + "  import beside\n")
  (tmp_path / "beside.py").write_text("1 / 0\n")
  done = subprocess.run(
    [sys.executable, "-m", "imp_jax.command.main", *words],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert f"{tmp_path}/beside.py:1: ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("text", ["{{}}", "{[]: 1}", "(" * 300, "'a'"])
def test_any_message_is_one_line(text, capsys):
  with pytest.raises(SystemExit):
    raise BadInput(text)
  assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_config_file_without_its_function(tmp_path, zygote):
  (tmp_path / "config.py").write_text("x = 1\n")
  done = zygote.launch("launch.main", f"--config={tmp_path}/config.py")
  assert done.stderr == (
    f"error: {tmp_path}/config.py: has no function get_config()\n"
  )


def test_a_mistyped_flag_is_told_as_one_would_say_it(zygote):
  done = zygote.launch(
    "launch.main",
    "--config=configs/mnist1d.py:smoke",
    "--config.prune.fractoin=0.3",
  )
  assert done.returncode == 2
  assert done.stderr == (
    'error: \'fractoin\' Did you mean "fraction" instead of "fractoin"?\n'
  )


def test_a_flag_that_would_change_nothing_is_refused(tmp_path, zygote):
  done = zygote.launch(
    "launch.main",
    "--config=configs/mnist1d.py:smoke",
    "--config.pretrain.steps=2step",
    f"--workdir={tmp_path}/new",
  )
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert "--config.pretrain.steps would change nothing" in line
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  "flags",
  [
    ["--config.name=other"],
    # Of the scoring networks, which are no experiment's.
    ["--config.scores.compute=('random',)", "--config.pretrain.steps=2step"],
  ],
)
def test_a_flag_that_changes_something_is_taken(tmp_path, zygote, flags):
  done = zygote.launch(
    "launch.main", "--config=configs/mnist1d.py:smoke", *flags, "--describe"
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["main", "report", "sweep"])
def test_help_has_the_programs_own_flags(zygote, module):
  for name in (f"launch.{module}", f"imp_jax.command.{module}"):
    done = zygote.launch(name, "--help")
    assert "--workdir" in done.stdout
    assert "imp-jax" in done.stdout.splitlines()[0] + done.stdout


def test_a_plan_needs_no_workdir_and_makes_none(tmp_path, zygote):
  done = zygote.launch(
    "launch.main",
    "--config=configs/mnist1d.py:smoke",
    f"--workdir={tmp_path}/new",
    "--plan",
  )
  assert done.returncode == 0, done.stderr
  assert "train: 0 finished" in done.stdout
  assert not (tmp_path / "new").exists()


def test_levels_that_leave_nothing_are_warned_of(tmp_path):
  config = tiny_config(prune__fraction=0.5, prune__levels=40)
  with pytest.warns(UserWarning, match=r"weights none is left from level \d+"):
    prepare(config, str(tmp_path))


def test_of_several_studies_one_must_be_named(finished, tmp_path):
  workdir = copy_of(finished, tmp_path)
  studies = workdir / "studies"
  (studies / "other").mkdir()
  for name in ("config.json", "index.json"):
    content = (studies / finished[1].study / name).read_bytes()
    (studies / "other" / name).write_bytes(content)
  with pytest.raises(FileNotFoundError, match="has several studies, name one"):
    load(str(workdir))


def test_settings_of_a_few_experiments_are_no_difference(finished):
  """What a study's other experiments alone have is blank in both."""
  table = settings_apart([finished[1], finished[1]])
  assert len(table) == 0
  experiments = finished[1].tables.get("experiments")
  assert not [c for c in experiments if c.endswith("optim.steps")]


def test_an_npz_without_a_path():
  config = tiny_config(data__source="npz", data__path="")
  with pytest.raises(FileNotFoundError, match="no such file; name an .npz"):
    prepare(config, "unused")
  assert not (ROOT / "unused").exists()


def test_results_lead_back_to_the_rows_of_ones_own_file(finished_diet):
  results = finished_diet[1]
  name = next(
    n for n in results.tables.get("experiments")["experiment"] if "easy" in n
  )
  data = results.dataset()
  rows = data.train.source_index[results.keep_index(name)]
  assert len(set(rows)) == len(rows) > 0
  assert data.fingerprint == results.scores("el2n").record["fingerprint"]


def test_data_that_are_others_now_are_refused(tmp_path, rng):
  path = write_npz(tmp_path / "x.npz", random_arrays(rng))
  changes = dict(data__source="npz", data__path=path, data__batch_size=8)
  results, _ = run_tiny(tmp_path / "w", model__name="lenet300100", **changes)
  assert len(results.dataset().train) == 24
  write_npz(tmp_path / "x.npz", random_arrays(rng))
  with pytest.raises(ValueError, match="have other examples than experiment"):
    results.dataset()
