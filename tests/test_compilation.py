"""How a process compiles: the CPU's library, and the cache of programs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from imp_jax import compilation
from imp_jax.study import prepare
from tests.tiny import tiny_config


@pytest.mark.parametrize(
  "choice,images,before,after",
  [
    ("auto", True, "", "ynn"),
    ("auto", False, "", "eigen"),
    ("eigen", True, "", "eigen"),
    ("ynn", False, "", "ynn"),
    ("auto", True, "--xla_a=1", "ynn"),
    ("eigen", True, "--xla_cpu_experimental_ynn_fusion_type=dot", "ynn"),
  ],
)
def test_the_library_that_is_chosen(monkeypatch, choice, images, before, after):
  monkeypatch.setenv("XLA_FLAGS", before)
  compilation.choose_cpu_library(choice, images=images)
  assert compilation.cpu_library() == after
  flags = os.environ["XLA_FLAGS"].split()
  assert flags[: len(before.split())] == before.split()
  assert len({f.split("=")[0] for f in flags}) == len(flags) <= 2


def test_a_release_that_was_not_tested_is_left_alone(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "")
  monkeypatch.setattr("jaxlib.version.__version_info__", (0, 99, 0))
  compilation.choose_cpu_library("auto", images=True)
  assert os.environ["XLA_FLAGS"] == ""


def test_a_choice_that_comes_too_late_is_refused(tmp_path, monkeypatch):
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  config = tiny_config(execution__cpu_library="ynn")
  with pytest.raises(ValueError, match="compiles with 'eigen': it is chosen"):
    prepare(config, str(tmp_path))
  with pytest.raises(ValueError, match="unknown execution.cpu_library 'mkl'"):
    prepare(tiny_config(execution__cpu_library="mkl"), str(tmp_path))


SHAPES = [(16, 8, 16, 1), (8, 32, 32, 1), (8, 32, 64, 2), (4, 64, 64, 1)]

# Of a process of its own, where the library can still be chosen.
SCRIPT = """
import os, sys
from imp_jax.compilation import choose_cpu_library, cpu_library
choose_cpu_library("ynn", images=True)
import jax, jax.numpy as jnp, numpy as np
from imp_jax.models.convolution import convolve
data = dict(np.load(sys.argv[1]))
out = {}
for i, stride in enumerate(data["strides"].tolist()):
  def both(x, k, w):
    conv = lambda x, k: convolve(x, k, stride=stride, padding=1, kind="fast")
    out, pull = jax.vjp(conv, x, k)
    return out, *pull(w)
  program = jax.jit(both)
  args = [jnp.asarray(data[f"{name}{i}"]) for name in "xkw"]
  compiled = program.lower(*args).compile()
  found, again = compiled(*args), compiled(*args)
  for name, a, b in zip(("out", "dx", "dk"), found, again):
    out[f"{name}{i}"] = np.asarray(a)
    assert (np.asarray(a) == np.asarray(b)).all(), "not the same twice"
total = jax.jit(lambda x: x.sum((0, 1, 2))).lower(data["x0"]).compile()
assert "ynn" in total.as_text(), "the flag came too late"
np.savez(sys.argv[2], library=cpu_library(), **out)
"""


def reference(x, k, w, stride):
  """float64: a convolution's value and gradients, by its definition."""
  x, k, w = (a.astype(np.float64) for a in (x, k, w))
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  out, d_padded, dk = np.zeros(w.shape), np.zeros(padded.shape), 0 * k
  rows, columns = w.shape[1:3]
  for i in range(3):
    for j in range(3):
      part = np.s_[
        :,
        i : i + rows * stride : stride,
        j : j + columns * stride : stride,
      ]
      out += padded[part] @ k[i, j]
      d_padded[part] += w @ k[i, j].T
      dk[i, j] = np.einsum("nhwc,nhwo->co", padded[part], w)
  return out, d_padded[:, 1:-1, 1:-1], dk


def test_the_fast_library_computes_the_same(tmp_path, rng):
  data = {"strides": np.asarray([s for *_, s in SHAPES])}
  for i, (size, channels, features, stride) in enumerate(SHAPES):
    out = size // stride
    for name, shape in (
      ("x", (16, size, size, channels)),
      ("k", (3, 3, channels, features)),
      ("w", (16, out, out, features)),
    ):
      data[f"{name}{i}"] = rng.normal(size=shape).astype(np.float32)
  np.savez(tmp_path / "in.npz", **data)
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  subprocess.run(
    [sys.executable, "-c", SCRIPT, tmp_path / "in.npz", tmp_path / "out.npz"],
    env=environment,
    check=True,
  )
  found = np.load(tmp_path / "out.npz")
  assert found["library"] == "ynn"
  for i, (*_, stride) in enumerate(SHAPES):
    wanted = reference(*(data[f"{name}{i}"] for name in "xkw"), stride)
    for name, want in zip(("out", "dx", "dk"), wanted, strict=True):
      # Sums of at most 4,096 products of order 1: 1e-5 of their scale.
      np.testing.assert_allclose(
        found[f"{name}{i}"], want, rtol=0, atol=1e-5 * np.abs(want).max()
      )


def test_programs_are_kept_by_kind_of_machine(tmp_path, monkeypatch):
  code = (
    "import json, jax; from imp_jax.compilation import use_program_cache; "
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
