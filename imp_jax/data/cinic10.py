"""CINIC-10 (Darlow et al. 2018, arXiv 1810.03505) as a TFDS builder."""

import io
import pathlib
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

CLASS_NAMES = (
  "airplane",
  "automobile",
  "bird",
  "cat",
  "deer",
  "dog",
  "frog",
  "horse",
  "ship",
  "truck",
)
ARCHIVE = (
  "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz"
)


class Cinic10(tfds.core.GeneratorBasedBuilder):
  """Three splits of 90,000 images of 32 x 32 pixels: train, valid, test.

  It reads the archive, or `manual_dir/CINIC-10` where that lies unpacked:
  {train,valid,test}/{class}/*.png.
  """

  name = "cinic10"
  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = None  # manual_dir is a choice, not a duty

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="CINIC-10: CIFAR-10 and downsampled ImageNet images.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(
            shape=(32, 32, 3), encoding_format="png"
          ),
          "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
        }
      ),
      supervised_keys=("image", "label"),
    )

  def _split_generators(self, dl_manager: Any):
    root = pathlib.Path(dl_manager._manual_dir or "") / "CINIC-10"
    if not root.is_dir():
      root = pathlib.Path(dl_manager.download_and_extract(ARCHIVE))
    return {
      split: self._generate_examples(root / split)
      for split in ("train", "valid", "test")
    }

  def _generate_examples(self, folder: pathlib.Path):
    for label in CLASS_NAMES:
      for file in sorted((folder / label).glob("*.png")):
        key = f"{folder.name}/{label}/{file.stem}"
        yield key, {"id": key, "image": _rgb_png(file), "label": label}


def _rgb_png(file: pathlib.Path) -> io.BytesIO:
  """The file's bytes; a grey image (some are) is written anew as RGB."""
  data = io.BytesIO(file.read_bytes())
  with Image.open(data) as image:
    if image.mode != "RGB":
      data = io.BytesIO()
      image.convert("RGB").save(data, format="png")
  data.seek(0)
  return data
