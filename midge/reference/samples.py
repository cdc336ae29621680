"""Inputs: the fixed pattern, seeded random samples, and arrays from files; all checked against the input types."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from midge.errors import UsageError
from midge.ir.types import DType, TensorType

SEED = 20240229
RANDOM_INTEGERS = "uniform over the whole range of the type"
RANDOM_FLOATS = "uniform from -1 to 1"

Ports = Sequence[tuple[str, TensorType]]
Inputs = tuple[np.ndarray, ...]


def random_samples(types: Sequence[TensorType], count: int, seed: int = SEED) -> tuple[Inputs, ...]:
    """Samples from a seeded generator, in the same order on every machine."""
    generator = np.random.default_rng(seed)
    return tuple(tuple(_random(type_, generator) for type_ in types) for _ in range(count))


def describe(types: Sequence[TensorType]) -> str:
    """How `random_samples` draws for inputs of these types."""
    ways = {RANDOM_FLOATS if type_.dtype.is_float else RANDOM_INTEGERS for type_ in types}
    return " and ".join(sorted(ways))


def _random(type_: TensorType, generator: np.random.Generator) -> np.ndarray:
    if type_.dtype.is_float:
        return generator.uniform(-1, 1, type_.shape).astype(type_.dtype.numpy)
    low, high = (0, 1) if type_.dtype is DType.BOOL else type_.dtype.limits
    return generator.integers(low, high, type_.shape, dtype=np.int64, endpoint=True).astype(type_.dtype.numpy)


def check_input(array: np.ndarray, name: str, type_: TensorType, where: str) -> np.ndarray:
    """The array itself where its shape and type are the input's. Nothing is cast: a cast would change numbers."""
    if array.dtype != type_.dtype.numpy:
        expected = f"{type_.dtype.value}{_quantization(type_)}"
        raise UsageError(where, f"input '{name}' is {array.dtype}", expected, _cast_cure(array, type_))
    if array.shape != type_.shape:
        cure = f"Reshape it to {_shape(type_.shape)}" if array.size == type_.elements else ""
        raise UsageError(where, f"input '{name}' has shape {_shape(array.shape)}", _shape(type_.shape), cure)
    return np.ascontiguousarray(array)


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _quantization(type_: TensorType) -> str:
    if type_.quantization is None or type_.quantization.axis is not None:
        return ""
    return f" (real = {type_.quantization.scale:.9g} * (q - {type_.zero_point}))"


def _cast_cure(array: np.ndarray, type_: TensorType) -> str:
    if type_.dtype.is_float:
        return "Convert it with x.astype('float32')"
    if array.dtype.kind == "f" and type_.quantization is not None:
        low, high = type_.dtype.limits
        return (
            f"Quantise it: np.clip(np.round(x / {type_.quantization.scale:.9g}) + {type_.zero_point}, {low}, {high})"
            f".astype('{type_.dtype.value}')"
        )
    return ""


def match_inputs(source: np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray], ports: Ports) -> Inputs:
    """One sample from arrays in memory: one, a sequence in order, or by input name."""
    if isinstance(source, np.ndarray):
        source = (source,)
    if isinstance(source, Mapping):
        chosen = _choose(source, ports, "input")
    elif len(source) == len(ports):
        chosen = tuple(source)
    else:
        raise UsageError("input", f"{len(source)} arrays", f"one for each input: {_names(ports)}")
    return tuple(check_input(np.asarray(array), name, type_, "input")
                 for array, (name, type_) in zip(chosen, ports, strict=True))  # fmt: skip


def load_inputs(path: Path, ports: Ports, *, rounds: bool = False) -> Inputs:
    """One sample from a `.npy` file (networks with one input) or `.npz` file (arrays named as inputs, or in order)."""
    arrays = read_arrays(path, rounds=rounds)
    if isinstance(arrays, np.ndarray):
        if len(ports) != 1:
            raise UsageError(str(path), "holds one array", f"an .npz file with {len(ports)} arrays: {_names(ports)}")
        return (check_input(arrays, ports[0][0], ports[0][1], str(path)),)
    chosen = _choose(arrays, ports, str(path))
    return tuple(check_input(array, name, type_, str(path)) for array, (name, type_) in zip(chosen, ports, strict=True))


def load_samples(path: Path, ports: Ports, *, rounds: bool = False) -> tuple[Inputs, ...]:
    """Samples from the arrays of a file, stacked along a first dimension.

    Networks with one input: the array `x`, or the first one. With several: arrays named as the inputs.
    """
    return _split(read_arrays(path, rounds=rounds), ports, str(path))


def as_samples(
    source: np.ndarray | Mapping[str, np.ndarray] | Sequence[np.ndarray] | Sequence[Sequence[np.ndarray]], ports: Ports
) -> tuple[Inputs, ...]:
    """Samples from arrays in memory: stacked as in a file, or one by one, each as in `match_inputs`."""
    if isinstance(source, np.ndarray | Mapping):
        return _split(source, ports, "samples")
    if not source:
        raise UsageError("samples", "none", "at least one")
    return tuple(match_inputs(sample, ports) for sample in source)


def _split(arrays: np.ndarray | Mapping[str, np.ndarray], ports: Ports, where: str) -> tuple[Inputs, ...]:
    """Stacked arrays as samples."""
    if isinstance(arrays, np.ndarray):
        arrays = {"x": arrays}
    if len(ports) == 1 and arrays:
        chosen: Sequence[np.ndarray] = (arrays.get("x", next(iter(arrays.values()))),)
    else:
        chosen = _choose(arrays, ports, where)
    stacks = [_stack(array, name, type_, where) for array, (name, type_) in zip(chosen, ports, strict=True)]
    counts = {len(stack) for stack in stacks}
    if len(counts) > 1:
        raise UsageError(where, f"arrays of {sorted(counts)} samples", "as many samples for every input")
    if counts == {0}:
        raise UsageError(where, "no samples", "at least one")
    return tuple(zip(*stacks, strict=True))


def _stack(array: np.ndarray, name: str, type_: TensorType, where: str) -> list[np.ndarray]:
    """Split [N, …] into samples; … is the input's shape with or without its batch of one and its one channel."""
    shapes = [type_.shape, type_.shape[1:] if type_.shape[:1] == (1,) else type_.shape]
    shapes += [shape[:-1] for shape in shapes if len(shape) > 1 and shape[-1] == 1]
    if array.ndim and array.shape[1:] in shapes:
        samples = [row.reshape(type_.shape) for row in array]
    elif array.shape == type_.shape:
        samples = [array]
    else:
        expected = f"[N, {', '.join(str(size) for size in shapes[1])}]"
        raise UsageError(where, f"data for input '{name}' has shape {_shape(array.shape)}", expected)
    return [check_input(sample, name, type_, where) for sample in samples]


def read_arrays(path: Path, *, rounds: bool = False) -> np.ndarray | Mapping[str, np.ndarray]:
    """The array of a `.npy` file, or all arrays of a `.npz` file. Pickled objects are refused.

    `rounds`: float64 becomes float32, for samples of which only ranges and likeness count.
    """
    if not path.exists():
        raise UsageError(str(path), "no such file", "a NumPy file, .npy or .npz")
    if path.is_dir():
        raise UsageError(str(path), "is a folder", "a NumPy file, .npy or .npz")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return single_precision(loaded) if rounds else loaded
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
            return {name: single_precision(array) for name, array in arrays.items()} if rounds else arrays
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        expected = "an array saved by np.save or np.savez"
        raise UsageError(str(path), "cannot be read as a NumPy file", expected) from error


def single_precision(array: np.ndarray) -> np.ndarray:
    """float64, which NumPy makes where nobody asks for less, as float32; anything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _choose(arrays: Mapping[str, np.ndarray], ports: Ports, where: str) -> tuple[np.ndarray, ...]:
    if all(name in arrays for name, _ in ports):
        return tuple(arrays[name] for name, _ in ports)
    if len(arrays) != len(ports):
        found = f"{len(arrays)} arrays ({', '.join(arrays) or 'none'})"
        raise UsageError(where, found, f"one for each input: {_names(ports)}")
    return tuple(arrays.values())


def _names(ports: Ports) -> str:
    return ", ".join(name for name, _ in ports)
