"""What Winograd's form saves over plain convolution with weights of 8 bits, and what it takes.

Estimates to choose by, before either is written: counted from the code's instructions, checked against `midge run`
(docs/winograd.md).
"""

from __future__ import annotations

from midge.kernels.assembly import is_dual_issue
from midge.kernels.conv2d import wide
from midge.kernels.conv2d.winograd_form import STEP_CYCLES, Shape
from midge.kernels.window import Window
from midge.targets.records import Core

_PLAIN_CYCLES_PER_MAC = 1.17
_DUAL_PART = 0.57
"""Of the cycles of a core that issues one instruction at a time, those of one that issues two: measured on six layers
of 3x3 taps, 0.55 to 0.58 for the plain form and 0.52 to 0.61 for this one."""
_PLAIN_STEP_BYTES = 96
"""Code of the plain form for a word of weights of each of two channels, three pixels."""
_WORD_CYCLES = 77
"""To transform nine taps of two inputs."""
_BLOCK_CODE_BYTES, _CODE_BYTES, _BYTES_CODE_BYTES = 250, 1300, 900
"""Code beside the products: of each kind of block of the plain form, of this form, and of this form's own weights."""


def saved_cycles(window: Window, shape: Shape, core: Core) -> float:
    """Cycles of the plain form less those of this one."""
    part = _DUAL_PART if is_dual_issue(core) else 1
    macs = window.y.elements * window.kh * window.kw * window.x.channels
    plain, own = macs * _PLAIN_CYCLES_PER_MAC * part, own_cycles(window, shape) * part
    byte_cycles = float(core.timing.get("flash_miss", 0)) / float(core.timing.get("flash_sector_bytes", 8))
    if byte_cycles:
        # The cache of what is read from flash is smaller than two channels' weights: every block reads them again.
        plain_bytes = window.kh * window.kw * window.x.channels * window.y.channels
        plain += byte_cycles * plain_bytes * -(-window.y.columns // 3) * window.y.rows
        reads = 1 if shape.from_bytes else shape.blocks
        own += byte_cycles * stream_bytes(shape) * reads * _steps(window, shape)
    return plain - own


def own_cycles(window: Window, shape: Shape) -> float:
    """Without wait states, one instruction at a time."""
    tiles, words = shape.tiles, shape.row_words
    rounds = -(-shape.steps // shape.unroll) if shape.unroll < shape.steps else 0
    one_pass = 8 + shape.steps * STEP_CYCLES[tiles] + 6 * rounds
    line = 10 + 16 * tiles + 4 * one_pass
    pixel = 50 if shape.planar else 24
    channels = shape.lines * line + shape.block_columns * pixel + 25
    transform = 4 * (words * (11 + 15 * tiles) + 15) if shape.planar else shape.rows * (words * (7 + 11 * tiles) + 12)
    blocks = shape.blocks * (transform + channels * shape.outputs / 2 + 40)
    weights = shape.outputs * (words * _WORD_CYCLES + 40) if shape.from_bytes else 0
    return _steps(window, shape) * (blocks + weights)


def _steps(window: Window, shape: Shape) -> int:
    return -(-window.y.rows // 2) if shape.planar else window.y.rows


def stream_bytes(shape: Shape) -> int:
    """Weights and start values."""
    return 4 * shape.pair_words * shape.outputs // 2


def extra_bytes(window: Window, shape: Shape, plain: wide.Shape) -> int:
    """Flash of this form, code and weights, less that of the plain form."""
    steps_bytes = min(plain.steps_bytes, plain.kh * plain.run_words * _PLAIN_STEP_BYTES)
    plain_code = len(plain.blocks) * (steps_bytes + _BLOCK_CODE_BYTES)
    plain_weights = window.kh * window.kw * window.x.channels * window.y.channels
    own_code = shape.unroll * shape.step_bytes + _CODE_BYTES + (_BYTES_CODE_BYTES if shape.from_bytes else 0)
    return stream_bytes(shape) + own_code - plain_weights - plain_code
