"""What every kind of project is made of: the network's files, recorded samples, and the names for templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from midge import __version__
from midge.build.compiled import Compiled
from midge.emit import emit
from midge.emit.sources import Port, Sources
from midge.errors import DoesNotFitError
from midge.ir.interpret import run_graph
from midge.ir.types import TensorType
from midge.passes.pipelines import run_passes
from midge.plan import plan

HERE = Path(__file__).parent
VALUES_PER_LINE = 16
SELFTEST_BYTES = 16 * 1024
"""Flash left to the code of the self-test and its start-up; generous."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Inputs to record, one tuple of arrays for each sample, and where they came from."""

    samples: Sequence[Sequence[np.ndarray]]
    origin: str


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """A compiled network with recorded samples. `portable` is the network in portable C, where `sources` is not."""

    compiled: Compiled
    portable: Sources | None
    inputs: tuple[tuple[np.ndarray, ...], ...]
    outputs: tuple[tuple[np.ndarray, ...], ...]
    recorded_from: str

    @property
    def sources(self) -> Sources:
        return self.compiled.sources

    def names(self) -> dict[str, Any]:
        """What templates may use."""
        compiled, sources = self.compiled, self.compiled.sources
        return {
            "version": __version__,
            "title": Path(compiled.model.name).stem,
            "prefix": sources.prefix,
            "upper": sources.prefix.upper(),
            "model_name": compiled.model.name,
            "model_sha256": compiled.model.sha256,
            "command": compiled.command,
            "board": compiled.board,
            "compiler": compiled.image.compiler,
            "macs": compiled.model.graph.total_macs,
            "macs_computed": sum(layer.macs for layer in sources.layers),
            "ram_bytes": compiled.image.arena_bytes + compiled.image.static_bytes,
            "flash_bytes": compiled.image.flash.total,
            "weights_bytes": compiled.image.flash.weights,
            "code_bytes": compiled.image.flash.code,
            "inputs": sources.inputs,
            "outputs": sources.outputs,
            "run_symbol": sources.run_symbol,
            "input_rows": sources.input_rows,
            "init_symbol": sources.init_symbol,
            "units": sources.units,
            "portable_units": self.portable.units if self.portable is not None else (),
            "assembly": [unit for unit in sources.units if unit.endswith(".S")],
            "has_float_output": any(port.type.dtype.is_float for port in sources.outputs),
            "port_lines": [*_port_lines("input", sources.inputs), *_port_lines("output", sources.outputs)],
            "samples": self.inputs,
            "recorded_from": self.recorded_from,
            "recorded": [*_recorded("input", sources.inputs, self.inputs),
                         *_recorded("output", sources.outputs, self.outputs)],
        }  # fmt: skip


def make_project(compiled: Compiled, recorded: Recorded) -> Project:
    """Choose as many samples as fit in the flash, and compute their outputs with the reference."""
    samples = tuple(tuple(sample) for sample in recorded.samples[: _room(compiled, len(recorded.samples))])
    outputs = tuple(run_graph(compiled.model.graph, sample) for sample in samples)
    return Project(compiled, _portable(compiled), samples, outputs, recorded.origin)


def _room(compiled: Compiled, wanted: int) -> int:
    sample_bytes = sum(port.bytes for port in (*compiled.sources.inputs, *compiled.sources.outputs))
    left = compiled.board.flash.bytes - compiled.image.flash.total - SELFTEST_BYTES
    if left < sample_bytes:
        raise DoesNotFitError(
            f"board {compiled.board.name}",
            f"one recorded sample for the self-test takes {sample_bytes:,} bytes of flash",
            f"at most {max(left, 0):,}, what the network leaves",
        )  # fmt: skip
    return min(wanted, left // sample_bytes)


def _portable(compiled: Compiled) -> Sources | None:
    """The network in portable C, for other machines; None where the board's own sources are that already."""
    board = compiled.board
    portable = replace(board, core=replace(board.core, isas=("portable",)))
    options = compiled.options.plan
    made = emit(
        plan(run_passes(compiled.model.graph, portable), portable, options), prefix=compiled.sources.prefix,
        command=compiled.command, model_sha256=compiled.model.sha256,
    )  # fmt: skip
    return None if dict(made.files) == dict(compiled.sources.files) else made


def render_tree(folder: Path, names: Mapping[str, Any]) -> dict[str, str]:
    """All templates below a folder, by the path of the file they make; `__name__` in a path is replaced too."""
    made = {}
    for path in sorted(folder.rglob("*.j2")):
        target = path.relative_to(folder).as_posix().removesuffix(".j2")
        for name in ("library", "prefix"):
            if f"__{name}__" in target:
                target = target.replace(f"__{name}__", names[name])
        made[target] = render(path, names)
    return made


def render(path: Path, names: Mapping[str, Any]) -> str:
    """One template with these names; unknown names are errors."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    return environment.get_template(path.name).render(**names)


def common(name: str, names: Mapping[str, Any]) -> str:
    """A template that kinds share."""
    return render(HERE / "_common" / f"{name}.j2", names)


def firmware(name: str, names: Mapping[str, Any]) -> str:
    """A template of the self-test's own start-up code."""
    return render(HERE / "_firmware" / f"{name}.j2", {**names, "stack_bytes": SELFTEST_STACK_BYTES})


SELFTEST_STACK_BYTES = 1024


def _port_lines(role: str, ports: Sequence[Port]) -> list[str]:
    lines = []
    for port in ports:
        quantization = port.type.quantization
        meaning = f", real = {quantization.scale:.9g} * (q - ({quantization.zero_point}))" if quantization else ""
        shape = " x ".join(str(size) for size in port.type.shape)
        access = f"`{port.accessor}()`" if port.accessor else "by rows"
        lines.append(f'{role} {access}, "{port.name}": {port.type.dtype.c_name} [{shape}]{meaning}')
    return lines


def _recorded(role: str, ports: Sequence[Port], samples: Sequence[Sequence[np.ndarray]]) -> list[dict[str, Any]]:
    return [
        {
            "role": role, "index": index, "c_type": port.type.dtype.c_name, "elements": port.type.elements,
            "samples": [_lines(sample[index], port.type) for sample in samples],
        }
        for index, port in enumerate(ports)
    ]  # fmt: skip


def _lines(array: np.ndarray, type_: TensorType) -> list[str]:
    literals = [_literal(value, type_) for value in array.ravel().tolist()]
    starts = range(0, len(literals), VALUES_PER_LINE)
    return [", ".join(literals[start : start + VALUES_PER_LINE]) + "," for start in starts]


def _literal(value: float, type_: TensorType) -> str:
    """A C literal; nine digits give back every float32, and C++ before 2017 has no hexadecimal ones."""
    if not type_.dtype.is_float:
        return str(int(value))
    if value != value:
        return '__builtin_nanf("")'
    if value in (float("inf"), float("-inf")):
        return "__builtin_inff()" if value > 0 else "-__builtin_inff()"
    text = f"{value:.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"
