"""The kinds of convolution that networks are trained with on this machine."""

from imp_jax.models import onednn

TRAINED = ("fast", "onednn") if onednn.available() else ("fast",)
