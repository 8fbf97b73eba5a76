"""What every process of a test run needs; fixtures are in tests/fixtures.py."""

import os
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The processes of one run, workers and command lines, share what they compile;
# a run starts with nothing compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _programs = tempfile.TemporaryDirectory(prefix="imp_jax_programs_")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"


def pytest_configure(config: pytest.Config) -> None:
  """The process that only hands tests out to others imports nothing more."""
  hands_out = config.getoption("numprocesses", None)
  if hasattr(config, "workerinput") or not hands_out:
    config.pluginmanager.import_plugin("tests.fixtures")
