"""Inputs from generators, memory and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midge.errors import UsageError
from midge.ir.types import DType, TensorType
from midge.reference import samples

IMAGE = TensorType(DType.INT8, (1, 4, 3, 1))
VECTOR = TensorType(DType.FLOAT32, (1, 5))
ONE = [("x", IMAGE)]
TWO = [("image", IMAGE), ("vector", VECTOR)]


def test_random_samples_cover_the_type_and_repeat() -> None:
    big = TensorType(DType.INT8, (1, 10_000))
    ((first,), (second,)) = samples.random_samples([big], 2)
    assert first.dtype == np.int8 and first.min() == -128 and first.max() == 127
    assert not np.array_equal(first, second)
    assert np.array_equal(first, samples.random_samples([big], 1)[0][0])
    ((floats,),) = samples.random_samples([TensorType(DType.FLOAT32, (1, 10_000))], 1)
    assert floats.dtype == np.float32 and -1 <= floats.min() < -0.99 and 0.99 < floats.max() < 1
    assert "whole range" in samples.describe([big, VECTOR]) and "from -1 to 1" in samples.describe([big, VECTOR])


@pytest.mark.parametrize("shape", [(7, 4, 3, 1), (7, 1, 4, 3, 1)])
def test_stacked_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.arange(7 * 12, dtype=np.int8).reshape(shape)
    np.save(tmp_path / "d.npy", data)
    found = samples.load_samples(tmp_path / "d.npy", ONE)
    assert len(found) == 7
    assert all(sample[0].shape == IMAGE.shape for sample in found)
    assert np.array_equal(np.concatenate([sample[0].ravel() for sample in found]), data.ravel())


def test_one_sample_is_a_stack_of_one(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros(IMAGE.shape, np.int8))
    assert len(samples.load_samples(tmp_path / "d.npy", ONE)) == 1


def test_several_inputs_go_by_name_or_in_order(tmp_path: Path) -> None:
    image, vector = np.ones(IMAGE.shape, np.int8), np.ones(VECTOR.shape, np.float32)
    np.savez(tmp_path / "named.npz", vector=vector, image=image)
    np.savez(tmp_path / "ordered.npz", image, vector)
    for name in ("named", "ordered"):
        found = samples.load_inputs(tmp_path / f"{name}.npz", TWO)
        assert np.array_equal(found[0], image) and np.array_equal(found[1], vector)
    assert np.array_equal(samples.match_inputs({"image": image, "vector": vector}, TWO)[1], vector)
    assert np.array_equal(samples.match_inputs([image, vector], TWO)[1], vector)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros((2, 4, 4, 1), np.int8)}, "has shape [2, 4, 4, 1]; expected [N, 4, 3, 1]"),
        ({"a": np.zeros((2, 4, 3, 1), np.int16)}, "is int16; expected int8"),
        ({"a": np.zeros((0, 4, 3, 1), np.int8)}, "no samples"),
    ],
)
def test_wrong_data(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UsageError) as caught:
        samples.load_samples(tmp_path / "d.npz", ONE)
    assert said in str(caught.value)


def test_inputs_of_several_ports_need_as_many_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros(IMAGE.shape, np.int8))
    with pytest.raises(UsageError, match=r"an \.npz file with 2 arrays: image, vector"):
        samples.load_inputs(tmp_path / "d.npy", TWO)
    np.savez(tmp_path / "d.npz", image=np.zeros((3, 4, 3, 1), np.int8), vector=np.zeros((2, 5), np.float32))
    with pytest.raises(UsageError, match="as many samples for every input"):
        samples.load_samples(tmp_path / "d.npz", TWO)
