"""Writes models.npz: PyTorch's ResNet-20 and VGG-16 on fixed weights.

An independent implementation, from the papers' descriptions, out of PyTorch's
own layers and autograd. Run it where torch is installed (the CPU build will
do; nothing of this repository is imported but `weights.py` beside it):

  python tests/goldens/make_goldens.py

It computes in float64, so that the goldens carry no rounding of their own and
come out the same on every machine; they are stored as float32. To each model
belong, with leaves in the order of their sorted Flax paths and in Flax's
layouts:

  eval_logits, train_logits  [batch, classes]
  loss                       mean cross-entropy of train_logits, in nats
  grad_paths, grad_sizes, grad_norms, grad_entries
                             the loss's gradient: names, sizes and L2 norms of
                             all parameters; `golden_entries`, concatenated
  stats_paths, stats_sizes, stats
                             all running means and variances after one forward
                             in training mode, concatenated
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from weights import golden_batch, golden_entries, golden_leaf

BATCH = (4, 32, 32, 3)
CLASSES = 10
OUTPUT = pathlib.Path(__file__).with_name("models.npz")


class ConvNorm(nn.Module):
  """A convolution without bias, padded by half its window, and BatchNorm."""

  def __init__(self, inputs, outputs, window=3, stride=1):
    super().__init__()
    self.conv = nn.Conv2d(
      inputs, outputs, window, stride, padding=window // 2, bias=False
    )
    self.norm = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1)

  def forward(self, x):
    return self.norm(self.conv(x))


class BasicBlock(nn.Module):
  """Two convolutions, and a projected shortcut where the shape changes."""

  def __init__(self, inputs, outputs, stride):
    super().__init__()
    self.add_module("1", ConvNorm(inputs, outputs, stride=stride))
    self.add_module("2", ConvNorm(outputs, outputs))
    self.relu = nn.ReLU()
    self.shortcut = nn.Identity()
    if stride != 1 or inputs != outputs:
      self.shortcut = ConvNorm(inputs, outputs, window=1, stride=stride)

  def forward(self, x):
    first, second = self.get_submodule("1"), self.get_submodule("2")
    return self.relu(second(self.relu(first(x))) + self.shortcut(x))


class ResNet20(nn.Module):
  """He et al. 2016, section 4.2, with projections: n = 3, widths 16, 32, 64."""

  def __init__(self):
    super().__init__()
    self.stem = ConvNorm(3, 16)
    self.relu = nn.ReLU()
    blocks, inputs = [], 16
    for stage, (outputs, stride) in enumerate([(16, 1), (32, 2), (64, 2)], 1):
      for block in (1, 2, 3):
        blocks.append(
          (
            f"stage{stage}_block{block}",
            BasicBlock(inputs, outputs, stride if block == 1 else 1),
          )
        )
        inputs = outputs
    self.names = [name for name, _ in blocks]
    for name, block in blocks:
      self.add_module(name, block)
    self.head = nn.Linear(64, CLASSES)

  def forward(self, x):
    x = self.relu(self.stem(x))
    for name in self.names:
      x = self.get_submodule(name)(x)
    return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class VGG16(nn.Module):
  """Configuration D at 1/8 of its width, one dense layer behind the average."""

  def __init__(self):
    super().__init__()
    # 64, 128, 256, 512, 512 channels at full width; "M" halves the image.
    plan = "8 8 M 16 16 M 32 32 32 M 64 64 64 M 64 64 64"
    self.layers = nn.Sequential()
    inputs, stage, i = 3, 1, 1
    for entry in plan.split():
      if entry == "M":
        self.layers.append(nn.MaxPool2d(2))
        stage, i = stage + 1, 1
        continue
      outputs = int(entry)
      self.layers.add_module(
        f"stage{stage}_conv{i}",
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
      )
      self.layers.add_module(
        f"stage{stage}_norm{i}", nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1)
      )
      self.layers.append(nn.ReLU())
      inputs, i = outputs, i + 1
    self.head = nn.Linear(inputs, CLASSES)

  def forward(self, x):
    return self.head(self.layers(x).mean(dim=(2, 3)))


def flax_leaves(model: nn.Module) -> dict[str, torch.Tensor]:
  """Returns {Flax path: parameter or running statistic}, sorted by path."""
  leaves = {}
  for name, module in model.named_modules():
    path = name.removeprefix("layers.").replace(".", "_")
    if isinstance(module, nn.BatchNorm2d):
      leaves[f"{path}/scale"] = module.weight
      leaves[f"{path}/bias"] = module.bias
      leaves[f"{path}/mean"] = module.running_mean
      leaves[f"{path}/var"] = module.running_var
    elif isinstance(module, nn.Conv2d):
      leaves[f"{path}/kernel"] = module.weight
    elif isinstance(module, nn.Linear):
      leaves[f"{path}/kernel"] = module.weight
      leaves[f"{path}/bias"] = module.bias
  return dict(sorted(leaves.items()))


def to_flax(tensor: torch.Tensor) -> np.ndarray:
  """Returns [out, in, h, w] as [h, w, in, out] and [out, in] as [in, out]."""
  axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim]
  return tensor.detach().permute(axes).numpy()


def fill(model: nn.Module) -> None:
  """Gives every leaf the value that both sides agree on."""
  for path, tensor in flax_leaves(model).items():
    value = torch.from_numpy(golden_leaf(path, to_flax(tensor).shape))
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
    with torch.no_grad():
      tensor.copy_(value.permute(axes))


def golden_arrays(
  model: nn.Module, dtype: torch.dtype = torch.float64
) -> dict[str, np.ndarray]:
  """Returns the arrays listed above, of one model."""
  fill(model.to(dtype))
  inputs, labels = golden_batch(BATCH, CLASSES)
  x = torch.from_numpy(inputs).to(dtype).permute(0, 3, 1, 2)
  arrays = {}
  with torch.no_grad():
    arrays["eval_logits"] = model.eval()(x).numpy()
  logits = model.train()(x)
  loss = F.cross_entropy(logits, torch.from_numpy(labels).long())
  loss.backward()
  arrays["train_logits"] = logits.detach().numpy()
  arrays["loss"] = loss.detach().numpy()
  leaves = flax_leaves(model)
  grads = {
    path: to_flax(tensor.grad)
    for path, tensor in leaves.items()
    if isinstance(tensor, nn.Parameter)
  }
  stats = {
    path: tensor.numpy()
    for path, tensor in leaves.items()
    if not isinstance(tensor, nn.Parameter)
  }
  arrays["grad_norms"] = np.stack([np.linalg.norm(g) for g in grads.values()])
  arrays["grad_entries"] = np.concatenate(
    [golden_entries(path, grad) for path, grad in grads.items()]
  )
  arrays["stats"] = np.concatenate(list(stats.values()))
  arrays = {name: a.astype(np.float32) for name, a in arrays.items()}
  for kind, tree in (("grad", grads), ("stats", stats)):
    arrays[f"{kind}_paths"] = np.asarray(list(tree))
    arrays[f"{kind}_sizes"] = np.asarray([a.size for a in tree.values()])
  return arrays


def kink_distance(model: nn.Module) -> float:
  """Returns how far the batch stays from where the gradient jumps.

  There a ReLU's input is zero, or a pooling window has two equal maxima, and
  float32 decides by its rounding. The unit is that rounding's standard
  deviation in the layer in question, by PyTorch itself.
  """
  runs = {}
  for dtype in (torch.float64, torch.float32):
    runs[dtype] = []

    def record(module, inputs, output, seen=runs[dtype]):
      del output
      x = inputs[0].double()
      distance = x.abs().min()
      if isinstance(module, nn.MaxPool2d):
        windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
        second, first = windows.sort().values[..., -2:].unbind(-1)
        # Equal zeros are harmless: no gradient passes the ReLU before them.
        distance = (first - second)[first > 0].min()
      seen.append((x, distance))

    fill(model.to(dtype).train())
    hooks = [
      module.register_forward_hook(record)
      for module in model.modules()
      if isinstance(module, nn.ReLU | nn.MaxPool2d)
    ]
    inputs, _ = golden_batch(BATCH, CLASSES)
    with torch.no_grad():
      model(torch.from_numpy(inputs).to(dtype).permute(0, 3, 1, 2))
    for hook in hooks:
      hook.remove()
  return min(
    float(distance / (exact - rounded).pow(2).mean().sqrt())
    for (exact, distance), (rounded, _) in zip(*runs.values(), strict=True)
  )


def main() -> None:
  """Writes the file and says what is in it."""
  arrays = {}
  for name, model in (("resnet20", ResNet20()), ("vgg16", VGG16())):
    distance = kink_distance(model)
    print(f"{name}: {distance:.1f} standard deviations from any kink")
    if distance < 5:
      raise ValueError(f"{name}: draw another batch in weights.py")
    for key, value in golden_arrays(model).items():
      arrays[f"{name}/{key}"] = value
  np.savez_compressed(OUTPUT, **arrays)
  for key, value in arrays.items():
    print(f"{key}: {value.dtype}{list(value.shape)}")
  print(f"{OUTPUT.name}: {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
  main()
