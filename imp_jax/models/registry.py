"""The registry of models by name, and the functions a model offers."""

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imp_jax.core.masks import flat_leaves
from imp_jax.data.augment import normalise
from imp_jax.models.convolution import resolve_convolution
from imp_jax.models.layers import BN_SCALE_INITS, at_least_float32
from imp_jax.models.lenet import Conv1D, LeNet300100, MLPSkip
from imp_jax.models.resnet import ResNet, make_cifar_resnet
from imp_jax.models.vgg import VGG16

PyTree = Any

DTYPES = {
  "float32": jnp.float32,
  "bfloat16": jnp.bfloat16,
  "float16": jnp.float16,
}

# name -> (constructor, rank of one input: 1 signals, 3 images, None either);
# resnetN and resnet1dN for N = 6m + 2 are made on demand.
MODELS: dict[str, tuple[Callable[..., nn.Module], int | None]] = {
  "lenet300100": (LeNet300100, None),
  "mlp_skip": (MLPSkip, None),
  "conv1d": (Conv1D, 1),
  "vgg16": (VGG16, 3),
  "resnet18": (
    lambda **options: ResNet(
      blocks=(2, 2, 2, 2), features=(64, 128, 256, 512), **options
    ),
    3,
  ),
  "resnet50": (
    lambda **options: ResNet(
      blocks=(3, 4, 6, 3),
      features=(64, 128, 256, 512),
      bottleneck=True,
      **options,
    ),
    3,
  ),
}


# Modules whose networks the tests check.
_OURS = tuple(f"imp_jax.models.{m}" for m in ("lenet", "resnet", "vgg"))
RESNETS = ("resnetN (N = 6m + 2)", "resnet1dN (for signals)")
RESNET_NAME = re.compile(r"resnet(1d)?(\d{1,9})")


@dataclasses.dataclass(frozen=True)
class Model:
  """A network as pure functions of parameters and BatchNorm statistics.

  Attributes:
    name: its registered name.
    module: the Flax module.
    input_shape: of one example.
    mean, std: by which inputs are normalised per channel; () = they are taken
      as they are.
  """

  name: str
  module: nn.Module
  input_shape: tuple[int, ...]
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()

  def init(self, key: jax.Array) -> tuple[PyTree, PyTree]:
    """Returns (params, batch_stats) of one replicate."""
    example = jnp.zeros((1, *self.input_shape), jnp.float32)
    variables = self.module.init(key, example, train=False)
    return variables["params"], variables.get("batch_stats", {})

  def prepared(self, inputs: jax.Array) -> jax.Array:
    """Returns inputs as the first layer takes them: normalised."""
    if not self.mean:
      return inputs
    return normalise(inputs, self.mean, self.std)

  def normalising(self, mean: Sequence[float], std: Sequence[float]) -> "Model":
    """Returns the model that normalises its inputs by these constants."""
    return dataclasses.replace(self, mean=tuple(mean), std=tuple(std))

  def of_prepared(self) -> "Model":
    """Returns the model of inputs that are `prepared` already."""
    return dataclasses.replace(self, mean=(), std=())

  def apply(
    self, params: PyTree, batch_stats: PyTree, inputs: jax.Array
  ) -> jax.Array:
    """Returns logits [batch, classes] in evaluation mode, at least float32.

    Args:
      params, batch_stats: one network.
      inputs: as in the data set, [batch, ...].
    """
    variables = {"params": params, "batch_stats": batch_stats}
    logits = self.module.apply(variables, self.prepared(inputs), train=False)
    return at_least_float32(logits)  # pyright: ignore

  def apply_train(
    self,
    params: PyTree,
    batch_stats: PyTree,
    inputs: jax.Array,
    weights: jax.Array | None,
  ) -> tuple[jax.Array, PyTree]:
    """Returns (float32 logits, new batch_stats) in training mode.

    Args:
      params: the masked parameters.
      batch_stats: running statistics before the step.
      inputs: as in the data set, maybe augmented, [batch, ...].
      weights: f32[batch], 0 for padding, or None where there is none.
    """
    variables = {"params": params, "batch_stats": batch_stats}
    logits, new = self.module.apply(
      variables,
      self.prepared(inputs),
      train=True,
      weights=weights,
      mutable=["batch_stats"],
    )
    return logits.astype(jnp.float32), new.get("batch_stats", {})

  def with_batch_statistics(self) -> "Model":
    """Returns the model whose new batch_stats in training are the batch's own.

    Its running averages forget the old ones, which is all that differs.
    """
    if not hasattr(self.module, "bn_momentum"):
      return self  # it has no running statistics
    return dataclasses.replace(self, module=self.module.clone(bn_momentum=0.0))

  def in_dtype(self, dtype: Any) -> "Model":
    """Returns the model whose activations have a dtype, if it offers one."""
    if not hasattr(self.module, "dtype"):
      return self
    return dataclasses.replace(self, module=self.module.clone(dtype=dtype))

  def prunable(self, params: PyTree) -> tuple[str, ...]:
    """Returns the paths of the prunable leaves: every kernel, nothing else.

    The paper's: stem, 3 x 3, 1 x 1 shortcuts and the head; never biases nor
    BatchNorm.
    """
    return tuple(p for p in flat_leaves(params) if p.endswith("kernel"))


def layers_in_order(model: Model) -> tuple[str, ...]:
  """Returns the prunable leaves' paths in the order that the network has them.

  `Model.prunable` has them sorted, as pytrees are.
  """
  found: list[str] = []

  def walk(tree: Any, prefix: str) -> None:
    for name, leaf in tree.items():
      if hasattr(leaf, "items"):
        walk(leaf, f"{prefix}{name}/")
      else:
        found.append(prefix + name)

  def init(key: jax.Array) -> None:
    # Within a trace, whose results' dictionaries would come back sorted.
    params, _ = model.init(key)
    walk(params, "")

  jax.eval_shape(init, jax.random.key(0))
  return tuple(path for path in found if path.endswith("kernel"))


def make_model(
  name: str,
  *,
  num_classes: int,
  input_shape: Sequence[int],
  width: float = 1,
  conv: str = "fast",
  bn_scale_init: str = "uniform",
  dtype: str = "float32",
  mean: Sequence[float] = (),
  std: Sequence[float] = (),
) -> Model:
  """Returns a registered model.

  Args:
    name: a key of MODELS, or "resnetN" or "resnet1dN" with N = 6m + 2.
    num_classes: units of the head.
    input_shape: of one example: (length,) or (height, width, channels).
    width: multiplies the channels of every hidden layer.
    conv: "auto", "fast", "onednn", "plain", "packed" or "patches".
    bn_scale_init: "uniform" or "ones".
    dtype: of activations: "float32", "bfloat16" or "float16".
    mean, std: normalisation constants per channel; () = inputs are taken as
      they are.

  Raises:
    ValueError: an unknown name or choice, or inputs the model cannot take.
  """
  for field, value, known in (
    ("bn_scale_init", bn_scale_init, BN_SCALE_INITS),
    ("dtype", dtype, DTYPES),
  ):
    if value not in known:
      raise ValueError(
        f"unknown model.{field} {value!r}; known: {', '.join(known)}"
      )
  if width <= 0:
    raise ValueError(f"model.width must be > 0, got {width}")
  options: dict[str, Any] = dict(
    num_classes=num_classes,
    width=width,
    conv=resolve_convolution(
      conv, backend=jax.default_backend(), images=len(input_shape) > 1
    ),
    bn_scale_init=bn_scale_init,
    dtype=DTYPES[dtype],
  )
  resnet = RESNET_NAME.fullmatch(name)
  if name in MODELS:
    constructor, rank = MODELS[name]
    if isinstance(constructor, type):  # it is given what it declares
      fields = {field.name for field in dataclasses.fields(constructor)}
      for field, value, plain in (
        ("width", width, 1),
        ("dtype", dtype, "float32"),
      ):
        if field not in fields and value != plain:
          raise ValueError(
            f"model {name} has no {field}: leave model.{field} at {plain!r}, "
            f"got {value!r}"
          )
      options = {k: v for k, v in options.items() if k in fields}
    module = constructor(**options)
  elif resnet:
    module = make_cifar_resnet(int(resnet[2]), **options)
    rank = 1 if resnet[1] else 3
  else:
    known = (*MODELS, *RESNETS)
    near = difflib.get_close_matches(name, MODELS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown model {name!r}; known: {', '.join(known)}{hint}")
  if rank is not None and len(input_shape) != rank:
    wanted = "signals (length,)" if rank == 1 else "images (h, w, c)"
    raise ValueError(
      f"model {name} takes {wanted}; the data's inputs are {tuple(input_shape)}"
    )
  if name == "vgg16" and min(input_shape[:2]) < 16:
    raise ValueError(
      "model vgg16 halves its input four times and takes images of at least "
      f"16 x 16, got {tuple(input_shape)}"
    )
  model = Model(name, module, tuple(input_shape), tuple(mean), tuple(std))
  if type(module).__module__ not in _OURS:
    check_model(model, num_classes)
  return model


@functools.lru_cache(maxsize=64)
def check_model(model: Model, num_classes: int) -> None:
  """Refuses a network that cannot be trained as all others are.

  Args:
    model: a user's own.
    num_classes: of its logits.

  Raises:
    ValueError: in one line, what it lacks.
  """
  inputs = jax.ShapeDtypeStruct((2, *model.input_shape), jnp.float32)
  weights = jax.ShapeDtypeStruct((2,), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  try:
    params, stats = jax.eval_shape(model.init, key)
    logits, _ = jax.eval_shape(
      model.apply_train, params, stats, inputs, weights
    )
  except Exception as error:  # of the user's own code
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    raise ValueError(
      f"model {model.name} cannot be trained: it must be a Flax module with "
      "__call__(self, x, *, train, weights=None) that draws nothing in "
      f"training ({reason})"
    ) from error
  if logits.shape != (2, num_classes):
    raise ValueError(
      f"model {model.name} must give logits (batch, {num_classes}), got "
      f"{logits.shape} of two examples"
    )
  if stats and not hasattr(model.module, "bn_momentum"):
    raise ValueError(
      f"model {model.name} has running statistics and no field bn_momentum: "
      "use imp_jax.models.layers.BatchNorm, which leaves padding out, and pass "
      "it the model's bn_momentum and weights"
    )
