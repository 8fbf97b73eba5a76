"""Fixtures; shape types are checked at run time here, and only here."""

import fcntl
import json
import os

from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  (the hook looks it up by name)

# Where arrays are handed on; in the other rooms, where it takes a sixth of all
# the time, in one process that runs a study (tests/studies/test_devices.py).
ROOMS = "data landscape models pruning results scores statistics training"
if "CHECK_EVERY_ROOM" in os.environ:
  ROOMS += " core engine probes stages study"
install_import_hook(
  [f"imp_jax.{room}" for room in ROOMS.split()], "tests.typechecker.check"
)

import jax
import numpy as np
import pytest

from imp_jax.data.sources import load_dataset
from imp_jax.models import make_model
from imp_jax.results.load import load
from tests.painting import painting
from tests.tiny import Log, run_tiny, tiny_config
from tests.tiny_diet import diet
from tests.tiny_landscape import looked_at
from tests.zygote import Zygote

jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def compilation(request):
  """Programs are compiled as the test wants them, not as an earlier one did."""
  compile_quickly(request.node.get_closest_marker("optimised") is None)


@pytest.fixture(scope="module")
def as_users_compile():
  """For fixtures of tests that are marked "optimised"."""
  compile_quickly(False)


def compile_quickly(quickly):
  if jax.config.values["jax_disable_most_optimizations"] != quickly:
    jax.config.update("jax_disable_most_optimizations", quickly)
    jax.clear_caches()


@pytest.fixture
def key():
  return jax.random.key(0)


@pytest.fixture
def rng():
  return np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory):
  """Decoded data go to a folder of this test run."""
  os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def unpainted():
  """Nobody looks at most studies' figures."""
  with painting(False):
    yield


@pytest.fixture
def painted():
  """For tests of what is there to be looked at."""
  with painting(True):
    yield


@pytest.fixture(scope="session")
def zygote():
  """Launches command lines without importing JAX for each."""
  process = Zygote()
  yield process
  process.close()


@pytest.fixture(scope="session")
def study_once(tmp_path_factory):
  """Runs a study once for all workers; gives (workdir, results, log).

  Tests only read it; to go on in it they copy it.
  """
  folder = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    folder = folder.parent

  def run(name, /, **settings):
    workdir, told = folder / name, folder / f"{name}.json"
    with open(folder / f"{name}.lock", "w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      if not told.exists():
        _, log = run_tiny(workdir, **settings)
        told.write_text(json.dumps(vars(log)))
    log = Log()
    vars(log).update(json.loads(told.read_text()))
    return workdir, load(str(workdir)), log

  return run


@pytest.fixture(scope="session")
def finished(study_once):
  with painting(True):
    return study_once("finished", written=True)


@pytest.fixture(scope="session")
def finished_diet(study_once):
  return study_once("diet", written=True, **diet())


@pytest.fixture(scope="session")
def landscape(study_once):
  """A study with everything there is to look at."""
  return study_once("landscape", **looked_at())


@pytest.fixture(scope="session")
def mnist():
  config = tiny_config()
  return load_dataset(
    "mnist1d",
    generator_seed=config.data.generator_seed,
    train_examples=config.data.train_examples,
    test_examples=config.data.test_examples,
  )


@pytest.fixture(scope="session")
def conv1d():
  return make_model(
    "conv1d", num_classes=10, input_shape=(40,), width=0.25, conv="plain"
  )
