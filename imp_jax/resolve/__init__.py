"""Resolving: a config into settings, every field validated first."""

from imp_jax.resolve.fields import check_fields as check_fields
from imp_jax.resolve.study import resolve as resolve
