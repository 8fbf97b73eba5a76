"""Fixtures; shape types are checked at run time here, and only here."""

import os

from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  (the hook looks it up by name)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
install_import_hook("imp_jax", "tests.typechecker.check")

import jax
import numpy as np
import pytest


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
