"""Resolving: a config into settings, every field validated first."""

from imp_jax.resolve.study import check_before_loading as check_before_loading
from imp_jax.resolve.study import resolve as resolve
