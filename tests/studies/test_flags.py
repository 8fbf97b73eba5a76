"""JAX's flags and the environment: pinned, recorded or harmless, every one."""

import concurrent.futures
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.engine import flags
from imp_jax.engine.flags import ENVIRONMENT, HARMLESS, PINNED, RECORDED, pinned
from imp_jax.study import execute, prepare
from tests.places import ROOT
from tests.tiny import Log, copy_of, run_tiny, seal, tiny_config

# Flags of compilation are among those that are recorded.
pytestmark = pytest.mark.optimised

# Of each pinned flag, a value that it must not have.
OTHER = {
  "jax_default_prng_impl": "rbg",
  "jax_enable_custom_prng": True,
  "jax_enable_x64": True,
  "jax_explicit_x64_dtypes": "allow",
  "jax_high_dynamic_range_gumbel": True,
  "jax_random_seed_offset": 7,
  "jax_threefry_gpu_kernel_lowering": True,
  "jax_threefry_partitionable": False,
}


@pytest.fixture(autouse=True)
def plain(monkeypatch):
  """Every test begins and ends with plain flags and a plain environment."""
  for name in ENVIRONMENT:
    monkeypatch.delenv(name, raising=False)
  before = jax.config.values
  yield
  for name, value in before.items():
    if jax.config.values[name] != value:
      jax.config.update(name, value)


def text_of(name):
  value = jax.config.values[name]
  return getattr(value, "name", str(value)).lower()


def in_a_thread(fn, *args):
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(fn, *args).result()


def run_python(program, *args, **environment):
  done = subprocess.run(
    [sys.executable, "-c", program, *map(str, args)],
    cwd=ROOT,
    env=os.environ | environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr[-4000:]
  return done.stdout


def test_every_flag_of_this_jax_is_in_the_table_once():
  listed = [*PINNED, *RECORDED, *HARMLESS]
  assert sorted(listed) == sorted(set(listed))
  missing = sorted(set(jax.config.values) - set(listed))
  assert not missing, f"pinned, recorded or harmless? {', '.join(missing)}"


def test_the_table_has_the_defaults_of_this_jax():
  """Nothing is pinned to another value, nor recorded, where all is plain."""
  for name, value in PINNED.items():
    if name in jax.config.values:
      assert text_of(name) == str(value).lower(), name
  assert flags.recorded() == {}


def draws():
  """What each pinned flag has a part in, as text."""
  key = jax.random.key(0)
  return {
    "jax_default_prng_impl": str(key.dtype),
    "jax_enable_custom_prng": str(jax.random.PRNGKey(0).dtype),
    "jax_enable_x64": str(jax.random.normal(key).dtype),
    "jax_explicit_x64_dtypes": str(jnp.zeros(2, "float64").dtype),
    "jax_high_dynamic_range_gumbel": str(jax.random.gumbel(key, (3,))),
    "jax_random_seed_offset": str(jax.random.key_data(key)),
    "jax_threefry_gpu_kernel_lowering": "alike on a CPU",
    "jax_threefry_partitionable": str(jax.random.bits(key, (3,))),
  }


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize("name", PINNED)
def test_what_is_drawn_under_pinned_flags_is_the_same(name):
  wanted = draws()
  jax.config.update(name, OTHER[name])
  assert (draws()[name] != wanted[name]) == ("gpu" not in name)
  assert pinned()(draws)() == wanted


class Stopped(Exception):
  """Ends a run."""


def test_flags_are_pinned_in_all_threads_and_put_back():
  assert set(OTHER) == set(PINNED)
  for name, value in OTHER.items():
    jax.config.update(name, value)
  outside = jax.config.values
  with pytest.raises(Stopped), pinned():
    with pinned():
      pass
    for name, value in PINNED.items():
      assert text_of(name) == in_a_thread(text_of, name) == str(value).lower()
    raise Stopped
  assert jax.config.values == outside


def test_runs_that_overlap_stay_pinned_to_the_last():
  jax.config.update("jax_default_prng_impl", "rbg")
  one, two = pinned(), pinned()
  one.__enter__()
  two.__enter__()
  one.__exit__(None, None, None)
  assert text_of("jax_default_prng_impl") == "threefry2x32"
  two.__exit__(None, None, None)
  assert text_of("jax_default_prng_impl") == "rbg"


def test_a_flag_set_in_this_thread_alone_is_refused(tmp_path):
  message = "jax_enable_x64 is True in this thread.*needs False: leave that"
  jax.config.update("jax_random_seed_offset", 7)
  with jax.enable_x64(True), pytest.raises(ValueError, match=message):
    prepare(tiny_config(), str(tmp_path / "w"))
  assert not (tmp_path / "w").exists()
  assert text_of("jax_random_seed_offset") == "7"
  assert text_of("jax_enable_x64") == "false"  # as it is outside of the `with`


def test_flags_that_this_jax_lacks_are_left_out(monkeypatch):
  monkeypatch.setattr(flags, "PINNED", PINNED | {"jax_of_1999": 1})
  with pinned():
    assert "jax_of_1999" not in jax.config.values


def test_what_is_recorded_is_true_of_worker_threads():
  """JAX's context managers act on one thread; replicates run in others."""
  name = "jax_default_matmul_precision"
  with jax.default_matmul_precision("highest"):
    assert in_a_thread(text_of, name) == "none"
    with pinned():
      assert in_a_thread(text_of, name) == "highest"
      assert flags.recorded() == {name: "highest"}
    assert in_a_thread(text_of, name) == "none"
  assert flags.recorded() == {}


def test_recorded_flags_are_seen_however_they_are_set(monkeypatch):
  name = "jax_default_matmul_precision"
  jax.config.update(name, "high")
  assert flags.recorded() == {name: "high"}
  with jax.default_matmul_precision("highest"):
    assert flags.recorded() == {name: "highest"}
  program = "from imp_jax.engine.flags import recorded; print(recorded())"
  told = run_python(program, JAX_DEFAULT_MATMUL_PRECISION="highest")
  assert told.strip() == str({name: "highest"})
  jax.config.update(name, None)
  with jax.default_device(jax.devices()[0]):  # by its kind, not its number
    assert flags.recorded() == {"jax_default_device": "cpu"}
  assert flags.recorded() == {}


def test_a_flag_that_the_table_does_not_know_is_recorded(monkeypatch):
  name = "jax_memory_fitting_level"
  known = {n: v for n, v in RECORDED.items() if n != name}
  monkeypatch.setattr(flags, "RECORDED", known)
  assert flags.recorded() == {}
  jax.config.update(name, "O3")
  assert flags.recorded() == {name: "O3"}
  jax.config.update(name, "O2")
  monkeypatch.setenv(name.upper(), "O2")  # of which we know no default
  assert flags.recorded() == {name: "O2"}


@pytest.mark.parametrize(
  "name,value,kept",
  [
    ("XLA_FLAGS", "--xla_force_host_platform_device_count=3", None),
    ("XLA_FLAGS", " --xla_dump_to=here --xla_dump_hlo_as_text ", None),
    (
      "XLA_FLAGS",
      "--xla_dump_to=here --xla_cpu_enable_fast_math=true  --xla_gpu_x=1",
      "--xla_cpu_enable_fast_math=true --xla_gpu_x=1",
    ),
    (
      "LIBTPU_INIT_ARGS",
      " --xla_tpu_use_enhanced_launch_barrier=true",  # JAX's own
      None,
    ),
    ("NVIDIA_TF32_OVERRIDE", "0", "0"),
    ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", "BF16"),
    ("ONEDNN_VERBOSE", "1", None),
  ],
)
def test_variables_are_recorded_less_what_is_harmless(
  monkeypatch, name, value, kept
):
  monkeypatch.setenv(name, value)
  assert flags.recorded() == ({name: kept} if kept else {})


@pytest.fixture(scope="module")
def finished(study_once, as_users_compile):
  return study_once("finished_optimised", written=True)


def test_the_environment_changes_no_number_and_no_identity(finished, tmp_path):
  run_python(
    "import sys; from tests.tiny import run_tiny; "
    "run_tiny(sys.argv[1], written=True)",
    tmp_path,
    JAX_DEFAULT_PRNG_IMPL="rbg",
    JAX_ENABLE_X64="1",
    JAX_RANDOM_SEED_OFFSET="7",
    JAX_THREEFRY_PARTITIONABLE="0",
  )
  wanted = finished[0]
  ids = [
    {f.name for f in (w / "objects").iterdir()} for w in (wanted, tmp_path)
  ]
  assert ids[0] == ids[1]
  table = "studies/mnist1d-smoke/results.csv"
  assert (tmp_path / table).read_bytes() == (wanted / table).read_bytes()


def test_what_is_drawn_of_the_data_is_the_same(tmp_path):
  config = tiny_config(data__valid_examples=8)
  wanted = prepare(config, str(tmp_path)).dataset.splits["valid"].inputs
  jax.config.update("jax_default_prng_impl", "rbg")
  found = prepare(config, str(tmp_path)).dataset.splits["valid"].inputs
  np.testing.assert_array_equal(found, wanted)


# One training and its W_r.
SMALL = dict(
  replicates=1,
  experiments=({"name": "a"},),
  claims__rewinding={"treatments": ()},
  prune__levels=0,
  eval__curve_steps=(),
)


def test_another_precision_is_recorded_and_mixed_only_when_asked(tmp_path):
  run_tiny(tmp_path, **SMALL)
  more = SMALL | {"replicates": 2}
  with jax.default_matmul_precision("highest"):
    _, log = run_tiny(tmp_path, **SMALL)  # all is there: nothing to mix
    assert log.nodes == []
    message = (
      r"has results of execution exact/cpu/fast "
      r"\(jax_default_matmul_precision unset\); this run would add "
      r"exact/cpu/fast \(jax_default_matmul_precision highest\), which rounds "
      r"differently; set --config.execution.mix=True"
    )
    with pytest.raises(ValueError, match=message):
      run_tiny(tmp_path, **more)
    results, _ = run_tiny(tmp_path, **more, execution__mix=True)
  made = [
    results.ticket("a", level=0, replicate=r).record["made_with"]
    for r in range(2)
  ]
  assert [m["flags"] for m in made] == [
    {},
    {"jax_default_matmul_precision": "highest"},
  ]
  assert made[1]["matmul_precision"] == "highest"


def test_what_an_earlier_run_put_into_the_tables_counts(tmp_path):
  """Also where this run needs none of it."""
  run_tiny(tmp_path, **SMALL)
  other = SMALL | {"experiments": ({"name": "b", "optim.momentum": 0.5},)}
  with (
    jax.default_matmul_precision("highest"),
    pytest.raises(ValueError, match="jax_default_matmul_precision unset"),
  ):
    prepare(tiny_config(**other), str(tmp_path))


def test_a_plan_is_executed_as_it_was_prepared(tmp_path):
  plan = prepare(tiny_config(**SMALL), str(tmp_path))
  with (
    jax.default_matmul_precision("highest"),
    pytest.raises(ValueError, match="was prepared to be executed as exact/cpu"),
  ):
    execute(plan, Log())
  assert not (tmp_path / "objects").exists()


class Killed(Log):
  """Stands for a kill in the middle of a training."""

  def steps(self, count):
    super().steps(count)
    if self.done >= 4:
      raise KeyboardInterrupt


def test_what_was_interrupted_goes_on_only_as_it_began(tmp_path):
  """A checkpoint says how it was made; one training is never of two kinds."""
  settings = SMALL | dict(
    optim__steps="8step",
    execution__chunk_steps=2,
    execution__checkpoint_seconds=0.0,
  )
  plan = prepare(tiny_config(**settings), str(tmp_path))
  with pytest.raises(KeyboardInterrupt):
    execute(plan, Killed())
  # W_r is finished; what is interrupted alone must tell too.
  for file in (tmp_path / "objects").glob("*/record.json"):
    record = json.loads(file.read_text())
    record["made_with"]["flags"] = {"jax_default_matmul_precision": "highest"}
    seal(file, record)
  with (
    jax.default_matmul_precision("highest"),
    pytest.raises(ValueError, match="jax_default_matmul_precision unset"),
  ):
    prepare(tiny_config(**settings), str(tmp_path))


@pytest.mark.parametrize(
  "change,told",
  [
    ({}, None),
    ({"flags": None}, None),  # made before there were any
    ({"jax": "0.9.0"}, "exact/cpu/fast (jax 0.9.0);"),
    ({"device": "TPU v9"}, "exact/cpu/fast (device TPU v9);"),
    (
      {"flags": {"XLA_FLAGS": "--xla_x=1"}},
      "exact/cpu/fast (XLA_FLAGS --xla_x=1);",
    ),
    (
      {"flags": None, "matmul_precision": "highest"},
      "exact/cpu/fast (jax_default_matmul_precision highest);",
    ),
    ({"execution": "vmap"}, "vmap/cpu/fast;"),
  ],
)
def test_ways_that_are_not_mixed(finished, tmp_path, change, told):
  workdir = copy_of(finished, tmp_path)
  for file in (workdir / "objects").glob("*/record.json"):
    record = json.loads(file.read_text())
    made = record["made_with"] | change
    record["made_with"] = {k: v for k, v in made.items() if v is not None}
    seal(file, record)
  config = tiny_config(replicates=3)
  if told is None:
    prepare(config, str(workdir))
    return
  with pytest.raises(ValueError) as error:
    prepare(config, str(workdir))
  assert f"has results of execution {told} this run would" in str(error.value)
