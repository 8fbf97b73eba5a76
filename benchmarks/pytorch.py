"""The PyTorch baseline: the same networks and steps, written plainly.

Channels last, fused SGD, compiled where that is faster (with CUDA graphs on a
GPU), bf16 by autocast, replicates by `torch.func.vmap`. It is nowhere else and
never needed by the package: `pip install imp-jax[bench]`.
"""

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.harness import Options


def conv_norm(inputs: int, outputs: int, window: int, stride: int) -> nn.Module:
  return nn.Sequential(
    nn.Conv2d(inputs, outputs, window, stride, window // 2, bias=False),
    nn.BatchNorm2d(outputs),
  )


class Block(nn.Module):
  """Two 3 x 3 convolutions and a 1 x 1 shortcut where the shape changes."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.first = conv_norm(inputs, outputs, 3, stride)
    self.second = conv_norm(outputs, outputs, 3, 1)
    same = stride == 1 and inputs == outputs
    self.shortcut = (
      nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)
    )

  def forward(self, x):
    y = self.second(F.relu(self.first(x)))
    return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
  """The CIFAR ResNet of depth 6m + 2, or ResNet-18 without its pooling."""

  def __init__(self, name: str, classes: int):
    super().__init__()
    if name == "resnet18":
      counts, features = (2, 2, 2, 2), (64, 128, 256, 512)
    else:
      counts = ((int(name.removeprefix("resnet")) - 2) // 6,) * 3
      features = (16, 32, 64)
    self.stem = conv_norm(3, features[0], 3, 1)
    blocks, inputs = [], features[0]
    for stage, (count, outputs) in enumerate(
      zip(counts, features, strict=True)
    ):
      for block in range(count):
        stride = 2 if stage and not block else 1
        blocks.append(Block(inputs, outputs, stride))
        inputs = outputs
    self.blocks = nn.Sequential(*blocks)
    self.head = nn.Linear(inputs, classes)

  def forward(self, x):
    return self.head(self.blocks(F.relu(self.stem(x))).mean(dim=(2, 3)))


@dataclasses.dataclass(frozen=True)
class Baseline:
  """PyTorch's side of the image cases, on the best device there is.

  Attributes:
    name: the registered name of the model, as ours.
    batch: examples per step.
    bf16: autocast to bfloat16.
  """

  name: str
  batch: int
  bf16: bool

  def train_runs(self, steps: int) -> dict[str, Callable[[], float]]:
    """Eager and compiled train steps; each call makes `steps` of them."""
    return {
      "PyTorch eager": self._train(steps, compiled=False),
      "PyTorch compiled": self._train(steps, compiled=True),
    }

  def replicate_runs(
    self, count: int, steps: int
  ) -> dict[str, Callable[[], float]]:
    """Train steps of replicates under `torch.func.vmap`, eager and compiled."""
    return {
      "PyTorch vmap": self._train_together(count, steps, compiled=False),
      "PyTorch vmap compiled": self._train_together(
        count, steps, compiled=True
      ),
    }

  def forward_runs(self, batches: int) -> dict[str, Callable[[], float]]:
    """Eager and compiled inference; each call does that many batches."""
    return {
      "PyTorch eager": self._forward(batches, compiled=False),
      "PyTorch compiled": self._forward(batches, compiled=True),
    }

  def _model(self):
    if device().type == "cuda":
      # TF32, as JAX's (float32 on a CPU); convolutions tried out, as by XLA.
      torch.set_float32_matmul_precision("high")
      torch.backends.cudnn.benchmark = True
    model = ResNet(self.name, 10).to(device())
    return model.to(memory_format=torch.channels_last)

  def _data(self):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(self.batch, 3, 32, 32, generator=generator)
    y = torch.randint(0, 10, (self.batch,), generator=generator)
    x = x.to(device(), memory_format=torch.channels_last)
    return x, y.to(device())

  def _autocast(self):
    if not self.bf16:
      return contextlib.nullcontext()
    return torch.autocast(device().type, torch.bfloat16)

  def _train(self, steps, compiled):
    model, (x, y) = self._model().train(), self._data()
    optimiser = torch.optim.SGD(
      model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True
    )

    def loss(x, y):
      with self._autocast():
        return F.cross_entropy(model(x).float(), y)

    if compiled:
      loss = _compiled(loss)

    def run():
      for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss(x, y).backward()
        optimiser.step()
      wait()
      return steps * self.batch

    return run

  def _train_together(self, count, steps, compiled):
    models = [self._model().train() for _ in range(count)]
    params, buffers = torch.func.stack_module_state(models)
    skeleton, (x, y) = models[0].to("meta"), self._data()
    optimiser = torch.optim.SGD(
      params.values(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True
    )

    def loss(params, buffers, x, y):
      with self._autocast():
        logits = torch.func.functional_call(skeleton, (params, buffers), (x,))
      return F.cross_entropy(logits.float(), y)

    gradients = torch.func.vmap(
      torch.func.grad(loss), in_dims=(0, 0, None, None)
    )
    if compiled:
      gradients = _compiled(gradients)
      for tensor in (*params.values(), *buffers.values()):
        # Else what is updated in place keeps CUDA graphs away.
        torch._dynamo.mark_static_address(tensor)

    def run():
      for _ in range(steps):
        for name, gradient in gradients(params, buffers, x, y).items():
          params[name].grad = gradient
        optimiser.step()
      wait()
      return count * steps * self.batch

    return run

  def _forward(self, batches, compiled):
    model, (x, y) = self._model().eval(), self._data()

    def metrics(x, y):
      with self._autocast():
        logits = model(x).float()
      losses = F.cross_entropy(logits, y, reduction="none")
      return losses, logits.argmax(1) == y

    if compiled:
      metrics = _compiled(metrics)

    def run():
      with torch.inference_mode():
        for _ in range(batches):
          metrics(x, y)
      wait()
      return batches * self.batch

    return run


def baseline(options: Options) -> Baseline:
  """The baseline of an image case."""
  return Baseline(options.model, options.batch, options.dtype == "bfloat16")


def fastest(
  runs: dict[str, Callable[[], float]],
) -> tuple[str, Callable[[], float]]:
  """Returns the run that does most per second, best of three after one."""

  def rate(run):
    run()
    rates = []
    for _ in range(3):
      start = time.perf_counter()
      work = run()
      rates.append(work / (time.perf_counter() - start))
    return max(rates)

  return max(runs.items(), key=lambda item: rate(item[1]))


def _compiled(fn):
  graphs = device().type == "cuda"
  mode = "max-autotune" if graphs else None
  return torch.compile(fn, mode=mode, dynamic=False)


def forget() -> None:
  """Frees what programs that are no longer in use hold."""
  torch._dynamo.reset()
  gc.collect()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()


def device() -> torch.device:
  return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
  if torch.cuda.is_available():
    torch.cuda.synchronize()
