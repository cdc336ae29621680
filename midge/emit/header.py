"""The public header of an emitted network."""

from __future__ import annotations

from dataclasses import dataclass

import midge
from midge.ir.types import TensorType
from midge.kernels.render import c_float, render
from midge.plan.records import Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """What the head of each emitted file states."""

    prefix: str
    command: str
    model_sha256: str
    plan: Plan
    weight_bytes: int

    @property
    def version(self) -> str:
        return midge.__version__

    @property
    def macs(self) -> int:
        return self.plan.graph.total_macs


def header_text(facts: Facts) -> str:
    """The text of `<prefix>.h`."""
    graph, plan = facts.plan.graph, facts.plan
    return render(
        "network.h.j2",
        facts=facts,
        prefix=facts.prefix,
        upper=facts.prefix.upper(),
        ports=[
            *(_port("input", i, name, graph.type(name), plan.offset_of(name, plan.input_buffers[i]), plan.input_rows)
              for i, name in enumerate(graph.inputs)),
            *(_port("output", i, name, graph.type(name), plan.offset_of(name, plan.output_buffers[i]))
              for i, name in enumerate(graph.outputs)),
        ],
    )  # fmt: skip


def _port(role: str, index: int, name: str, type_: TensorType, offset: int, rows: int = 0) -> dict[str, object]:
    quantization = type_.quantization
    return {
        "role": role,
        "index": index,
        "name": name,
        "c_type": type_.dtype.c_name,
        "const": "const " if role == "output" else "",
        "elements": type_.elements,
        "bytes": type_.bytes,
        "shape": " x ".join(map(str, type_.shape)) or "scalar",
        "dims": type_.shape,
        "offset": offset,
        "rows": rows,
        "scale": None if quantization is None else c_float(quantization.scale),
        "scale_decimal": None if quantization is None else f"{quantization.scale:.9g}",
        "zero_point": None if quantization is None else quantization.zero_point,
    }
