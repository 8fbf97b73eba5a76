"""Networks, and the convolution that stays fast inside loops on a CPU."""

from imp_jax.models.registry import MODELS as MODELS
from imp_jax.models.registry import Model as Model
from imp_jax.models.registry import make_model as make_model
