"""Lottery tickets on a data diet, in JAX."""

from imp_jax.results import load as load
