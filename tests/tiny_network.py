"""A network written by hand that keeps the contract of emitted ones, for tests of building and emulation."""

from __future__ import annotations

import numpy as np

from midge.emit.sources import Layer, Port, Sources
from midge.ir.types import DType, TensorType

HEADER = """
#ifndef TINY_H
#define TINY_H
#include <stdint.h>
extern int8_t tiny_arena[128];
static inline int8_t *tiny_input_0(void) { return tiny_arena; }
static inline int8_t *tiny_output_0(void) { return tiny_arena + 64; }
static inline int32_t *tiny_output_1(void) { return (int32_t *)(void *)(tiny_arena + 96); }
void tiny_run(void);
#endif
"""

BODY = """
#include "tiny.h"
_Alignas(4) int8_t tiny_arena[128];
static const int8_t weights[64] = { %s };

/* One output: a dot product with a rotation of the weights. */
__attribute__((noinline)) static void tiny_layer_0(int step)
{
    int32_t sum = 0;
    for (int i = 0; i < 64; ++i)
        sum += weights[i] * tiny_input_0()[(i + step) & 63];
    tiny_output_1()[step] = sum;
}

__attribute__((noinline)) static void tiny_layer_1(int step)
{
    tiny_output_0()[step] = (int8_t)(tiny_output_1()[step] / (step + 300));
}

void tiny_run(void)
{
    for (int step = 0; step < 8; ++step) {
        tiny_layer_0(step);
        tiny_layer_1(step);
    }
}
"""

WEIGHTS = [(i * 29 + 5) % 256 - 128 for i in range(64)]


def text() -> str:
    """The C text of the tiny network."""
    return BODY % ", ".join(map(str, WEIGHTS))


def sources(body: str | None = None, **changes: object) -> Sources:
    """The tiny network: int8[1,64] -> int8[1,8] and int32[1,8]; `body` replaces its C text."""
    fields: dict[str, object] = {
        "prefix": "tiny",
        "files": {"tiny.h": HEADER, "tiny.c": body or text()},
        "inputs": (Port("x", TensorType(DType.INT8, (1, 64)), "tiny_input_0"),),
        "outputs": (
            Port("y", TensorType(DType.INT8, (1, 8)), "tiny_output_0"),
            Port("sums", TensorType(DType.INT32, (1, 8)), "tiny_output_1"),
        ),
        "layers": (Layer("dot", "fully_connected", "tiny_layer_0", 512), Layer("divide", "div", "tiny_layer_1", 0)),
        "run_symbol": "tiny_run",
        "init_symbol": None,
        "arena_bytes": 128,
        "weight_bytes": 64,
    }
    fields.update(changes)
    return Sources(**fields)  # type: ignore[arg-type]


def reference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the tiny network computes."""
    wide = x.reshape(64).astype(np.int64)
    sums = np.array([sum(WEIGHTS[i] * wide[(i + step) & 63] for i in range(64)) for step in range(8)], np.int64)
    quotients = np.array([int(abs(s) // (step + 300)) * (1 if s >= 0 else -1) for step, s in enumerate(sums)])
    return quotients.astype(np.int8).reshape(1, 8), sums.astype(np.int32).reshape(1, 8)
