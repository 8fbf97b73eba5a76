"""The cache of compiled programs."""

import json
import os
import subprocess
import sys

import jax
import pytest

from imp_jax.command.cli import start
from imp_jax.models import onednn
from tests.tiny import tiny_config


def test_programs_are_kept_by_kind_of_machine(tmp_path, monkeypatch):
  code = (
    "import json, jax; "
    "from imp_jax.engine.compilation import use_program_cache; "
    "use_program_cache(); jax.jit(lambda x: x + 1)(1.0); "
    "print(json.dumps(jax.config.jax_compilation_cache_dir))"
  )

  def kept(**changes):
    environment = dict(os.environ, XDG_CACHE_HOME=str(tmp_path)) | changes
    environment = {k: v for k, v in environment.items() if v}
    done = subprocess.run(
      [sys.executable, "-c", code],
      env=environment,
      check=True,
      capture_output=True,
      text=True,
    )
    return json.loads(done.stdout)

  folder = kept(JAX_COMPILATION_CACHE_DIR="")
  assert folder.startswith(str(tmp_path / "imp_jax" / "programs"))
  assert len(os.path.basename(folder)) == 12
  own = str(tmp_path / "own")
  assert kept(JAX_COMPILATION_CACHE_DIR=own) == own


@pytest.mark.parametrize(
  "source,kind,kept",
  [
    ("mnist1d", "auto", True),
    ("npz", "fast", True),
    ("npz", "auto", not onednn.available()),
  ],
)
def test_programs_that_cannot_be_kept_are_not_tried(
  monkeypatch, source, kind, kept
):
  config = tiny_config(data__source=source, execution__convolution=kind)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "own")
  before = jax.config.values["jax_enable_compilation_cache"]
  try:
    start(config)
    assert jax.config.values["jax_enable_compilation_cache"] == kept
  finally:
    jax.config.update("jax_enable_compilation_cache", before)


def test_a_bad_kind_is_said_later():
  before = jax.config.values["jax_enable_compilation_cache"]
  start(tiny_config(execution__convolution="quick"))
  assert jax.config.values["jax_enable_compilation_cache"] == before
