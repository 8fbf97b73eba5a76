"""Networks, and the convolution that stays fast inside loops on a CPU.

The only folder that imports flax.linen. It may import core and data.
"""

from imp_jax.models.registry import MODELS as MODELS
from imp_jax.models.registry import Model as Model
from imp_jax.models.registry import layers_in_order as layers_in_order
from imp_jax.models.registry import make_model as make_model
