"""Recurrent operators: their variables become states of the graph."""

from __future__ import annotations

from midge.ir.types import DType
from midge.load.tflite.site import Site
from midge.ops.lstm import Lstm
from midge.ops.svdf import Svdf

_TANH = 4
_LEFT_OUT = {9: "peepholes", 10: "peepholes", 11: "peepholes", 16: "a projection", 17: "a projection",
             20: "layer normalisation", 21: "layer normalisation", 22: "layer normalisation",
             23: "layer normalisation"}  # fmt: skip
_WEIGHTS, _BIASES, _HELD, _CELLS = range(1, 9), range(12, 16), 18, 19


def lstm(site: Site) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM without peepholes, projection and layer normalisation."""
    code, cell_clip, projection_clip, time_major = site.options(
        "UnidirectionalSequenceLSTMOptions", "FusedActivationFunction", "CellClip", "ProjClip", "TimeMajor"
    )
    del projection_clip
    if code != _TANH:
        site.unsupported(f"the activation {code}")
    for position, part in _LEFT_OUT.items():
        if site.operand(position) is not None:
            site.unsupported(part)
    if site.operand(1) is None:
        site.unsupported("coupled input and forget gates")
    x, y = site.type(0), site.result_type()
    if len(x.shape) != 3:
        site.broken(f"an input of shape {list(x.shape)}", "[batch, steps, values]")
    if time_major or x.shape[0] != 1:
        site.unsupported(f"a batch of {x.shape[1 if time_major else 0]}, time {'first' if time_major else 'second'}")
    for position in (*_WEIGHTS, *_BIASES):
        site.known(position, "weights")
    site.require_dtypes(site.required(0), site.result(), *(site.required(position) for position in _WEIGHTS))
    scale, zero_point = _hidden(site) if y.dtype is DType.INT8 else (0.0, 0)
    site.emit_stateful(
        Lstm(scale, zero_point, float(cell_clip)), [site.required(p) for p in (0, *_WEIGHTS, *_BIASES)],
        [site.required(_HELD), site.required(_CELLS)], (1, x.shape[1], site.type(1).shape[0]),
    )  # fmt: skip


def _hidden(site: Site) -> tuple[float, int]:
    """Scale and zero point of the hidden state: the fifth intermediate tensor's."""
    indices = site.operator.intermediates
    if len(indices) != 5:
        site.broken(f"{len(indices)} intermediate tensors", "five")
    quantization = site.importer.raw.tensors[indices[4]].quantization
    if quantization is None or len(quantization.scales) != 1:
        site.broken("a hidden state without a scale", "a quantised one")
    return quantization.scales[0], quantization.zero_points[0]


def svdf(site: Site) -> None:
    """SVDF: float32, or int8 with a state of int16 or int8."""
    rank, code = site.options("SVDFOptions", "Rank", "FusedActivationFunction")
    x, feature, time = (site.type(position) for position in range(3))
    site.require_dtypes(site.required(0), site.required(1), site.result())
    if len(x.shape) != 2 or len(feature.shape) != 2 or len(time.shape) != 2 or rank < 1:
        site.broken(f"operands of shapes {list(x.shape)}, {list(feature.shape)}, {list(time.shape)}", "matrices")
    site.require_batch_1(x)
    for position in (1, 2):
        site.known(position, "weights")
    if site.operand(3) is not None:
        site.known(3, "a bias")
    if time.dtype is not site.type(4).dtype:
        site.unsupported(f"weights of type {time.dtype.value} for a state of {site.type(4).dtype.value}")
    operands = [site.required(0), site.required(1), site.required(2), site.operand(3)]
    site.emit_stateful(Svdf(rank, site.activation(code)), operands, [site.required(4)], (1, feature.shape[0] // rank))


ROWS = {"SVDF": svdf, "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm}
