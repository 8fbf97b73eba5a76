"""Artefacts as they were saved, in one file or, if large, by Orbax."""

import ml_dtypes
import numpy as np
import pytest

from imp_jax.core import artefacts
from imp_jax.core.artefacts import Artefact
from imp_jax.core.store import Store, StoreError

TREE = {
  "params": {
    "conv": {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2)},
    "head": {"bias": np.array([-0.0, np.inf], np.float32)},
  },
  "half": np.array([1.5, -2], ml_dtypes.bfloat16),
  "snapshots": {"12": {"count": np.array(7, np.int32)}},
}


def leaves(tree, path=()):
  if not isinstance(tree, dict):
    array = np.asarray(tree)
    return {path: (array.dtype, array.shape, array.tobytes())}
  return {
    k: v for n, t in tree.items() for k, v in leaves(t, (*path, n)).items()
  }


@pytest.mark.parametrize("large", [False, True])
def test_a_tree_comes_back_bit_for_bit(tmp_path, monkeypatch, large):
  if large:
    monkeypatch.setattr(artefacts, "LARGE", 39)
  kept = Store(str(tmp_path))
  kept.save("id", Artefact({"a": 1}, TREE, {"scores": np.arange(3.0)}))
  files = [f.name for f in (tmp_path / "objects" / "id").iterdir()]
  tree = "tree" if large else "tree.msgpack"
  assert sorted(files) == ["arrays.npz", "record.json", tree]
  monkeypatch.undo()  # how it was written tells how to read it
  found = kept.load("id")
  assert leaves(found.tree) == leaves(TREE)
  assert found.record["a"] == 1
  np.testing.assert_array_equal(found.arrays["scores"], np.arange(3.0))


@pytest.mark.parametrize("at", [0, 20, -1])
def test_one_bit_of_a_tree_is_seen(tmp_path, at):
  kept = Store(str(tmp_path))
  kept.save("id", Artefact({}, TREE))
  file = tmp_path / "objects" / "id" / "tree.msgpack"
  data = bytearray(file.read_bytes())
  data[at] ^= 1
  file.write_bytes(data)
  with pytest.raises(StoreError, match=r"id is damaged \(tree.msgpack\)"):
    kept.load("id")
  assert file.exists()  # a reader changes nothing


def test_a_checkpoint_is_orbax_whatever_its_size(tmp_path):
  checkpoint = Store(str(tmp_path)).checkpoint("id")
  checkpoint.save(3, Artefact({}, TREE))
  (folder,) = (tmp_path / "checkpoints" / "id").iterdir()
  assert (folder / "tree").is_dir()
  step, found = checkpoint.restore()
  assert step == 3 and leaves(found.tree) == leaves(TREE)
