"""The fixed input pattern, and the form of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midge.emit.sources import Port, Sources
from midge.errors import UsageError
from midge.ir.types import DType, TensorType


def fixed_pattern(type_: TensorType) -> np.ndarray:
    """What `midge run` feeds in when no input is given: `int8((i*37+11) mod 256 - 128)` for byte i.

    Wider integers are made of such bytes, little-endian; element i of a float tensor is that integer / 128; of a
    bool tensor its lowest bit. The test firmware's `fw` makes the same bits by itself.
    """
    count = type_.elements if type_.dtype is DType.FLOAT32 else type_.bytes
    index = np.arange(count, dtype=np.int64)
    values = ((index * 37 + 11) % 256 - 128).astype(np.int8)
    if type_.dtype is DType.FLOAT32:
        array = values.astype(np.float32) / np.float32(128)
    elif type_.dtype is DType.BOOL:
        array = (values & 1).astype(np.bool_)
    else:
        array = values.view(type_.dtype.numpy.newbyteorder("<")).astype(type_.dtype.numpy)
    return array.reshape(type_.shape)


def sample_bytes(ports: Sequence[Port], arrays: Sequence[np.ndarray]) -> bytes:
    """The raw bytes of one sample, port after port. UsageError where number, type or size is wrong."""
    if len(arrays) != len(ports):
        raise UsageError("input", f"{len(arrays)} arrays", f"{len(ports)}: {', '.join(port.name for port in ports)}")
    parts = []
    for port, array in zip(ports, arrays, strict=True):
        array, dtype = np.asarray(array), port.type.dtype.numpy
        if array.dtype != dtype or array.size != port.type.elements:
            raise UsageError(
                f"input `{port.name}`",
                f"{array.dtype.name}{list(array.shape)}",
                f"{dtype.name}{list(port.type.shape)}",
            )
        parts.append(np.ascontiguousarray(array).astype(dtype.newbyteorder("<")).tobytes())
    return b"".join(parts)


def sample_arrays(ports: Sequence[Port], data: bytes) -> tuple[np.ndarray, ...]:
    """The arrays of one sample from its raw bytes."""
    arrays, offset = [], 0
    for port in ports:
        dtype = port.type.dtype.numpy
        flat = np.frombuffer(data, dtype.newbyteorder("<"), port.type.elements, offset)
        arrays.append(flat.astype(dtype).reshape(port.type.shape))
        offset += port.bytes
    return tuple(arrays)


def pattern_inputs(sources: Sources) -> tuple[np.ndarray, ...]:
    """The fixed pattern for each input of a network."""
    return tuple(fixed_pattern(port.type) for port in sources.inputs)
