"""Records as text for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console, RenderableType
from rich.text import Text

from midge.build.compiled import Compiled, Tuned
from midge.build.image import FlashBytes
from midge.ir.types import TensorType
from midge.report.console import clock, duration, grid, size, table
from midge.report.records import Arena, Fit, Inspection, Package, PortInfo, RamBytes, Result, Verification
from midge.targets.records import Board, Core

OUTPUT_VALUES_SHOWN = 16


def show(console: Console, *parts: RenderableType) -> None:
    """Print parts with a blank line between them."""
    with console.capture() as captured:
        for number, part in enumerate(parts):
            if number:
                console.print()
            console.print(part)
    # Tables pad their cells to the end of the line; nobody wants that in a file.
    console.file.write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def heading(model: str, board: Board) -> Text:
    chip = f"{board.mcu}, " if board.mcu else ""
    return Text.assemble((model, "bold"), " on ", (board.title, "bold"), f" ({chip}{core_at(board)})")


def core_at(board: Board) -> str:
    return f"{board.core.title} at {clock(board.clock_hz)}" if board.clock_hz else board.core.title


def type_text(type_: TensorType) -> str:
    """`int8 [1, 49, 10, 1]`."""
    return f"{type_.dtype.value} [{', '.join(str(length) for length in type_.shape)}]"


def quantization_text(type_: TensorType) -> str:
    """How the integers stand for real numbers."""
    quantization = type_.quantization
    if quantization is None:
        return "not quantised"
    if quantization.axis is not None:
        return f"{len(quantization.scales)} scales along axis {quantization.axis}"
    return f"real = {quantization.scale:.9g} × (q − {quantization.zero_point})".replace("(q − -", "(q + ")


def port_text(port: PortInfo) -> str:
    return f"{port.name}: {type_text(port.type)}, {quantization_text(port.type)}"


def ram_text(ram: RamBytes, arena: Arena) -> str:
    packing = "proven minimal" if arena.proven_minimal else f"lower bound {size(arena.lower_bound_bytes)}"
    stack = "stack, which only a run measures" if ram.stack is None else f"stack {size(ram.stack)}"
    least = "at least " if ram.stack is None else ""
    parts = (f"activations {size(ram.activations)} ({packing})", f"static {size(ram.static)}", stack)
    return f"{least}{size(ram.total)} = {' + '.join(parts)}"


def flash_text(flash: FlashBytes) -> str:
    return f"{size(flash.total)} = weights {size(flash.weights)} + code {size(flash.code)}"


def run_text(result: Result) -> tuple[RenderableType, ...]:
    """What `midge run` shows."""
    layers = table("layer", "op", "MACs", "instructions", "cycles", "share",
                   numeric=("MACs", "instructions", "cycles", "share"))  # fmt: skip
    whole = result.instructions if result.cycles is None else result.cycles
    for layer in result.layers:
        share = (layer.instructions if layer.cycles is None else layer.cycles) / whole if whole else 0.0
        layers.add_row(layer.name, layer.op, f"{layer.macs:,}", f"{layer.instructions:,}", _count(layer.cycles),
                       f"{share:.1%}")  # fmt: skip
    layers.add_section()
    layers.add_row("total", "", f"{result.macs_computed:,}", f"{result.instructions:,}", _count(result.cycles), "")
    work = f"{result.macs:,} MACs in the model, {result.macs_computed:,} left to compute"
    flash = result.flash
    facts = grid([
        *([("work", work)] if result.macs_computed != result.macs else []),
        *([("time", time)] if (time := _time_text(result)) else []),
        ("cycles", result.cycles_note),
        ("energy", energy_text(result)),
        ("RAM", ram_text(result.ram, result.arena)),
        ("flash", flash_text(flash)),
        ("built by", f"{result.compiler}, run on {result.backend}"),
        *(("output", _output_text(*pair)) for pair in zip(result.output_ports, result.outputs, strict=True)),
    ])  # fmt: skip
    return heading(result.model, result.board), layers, facts


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _time_text(result: Result) -> str:
    """Empty where there are no cycles."""
    if result.cycles is None or result.latency_ms is None:
        return ""
    per_mac = f", {result.cycles / result.macs:.2f} cycles per MAC" if result.macs else ""
    return f"{duration(result.latency_ms)} at {clock(result.board.clock_hz)}{per_mac}"


def energy_text(result: Result) -> str:
    """The energy and the current it is reckoned with; where that current is from, `midge boards NAME` tells."""
    power = result.board.power
    if result.energy_uj is None or power is None:
        return result.energy_note
    return f"{result.energy_uj:,.1f} µJ (estimate: {power.run_milliamps:g} mA at {power.supply_volts:g} V)"


def _output_text(port: PortInfo, array: np.ndarray) -> str:
    flat = array.ravel()
    shown = " ".join(f"{value:.6g}" if port.type.dtype.is_float else str(value) for value in flat[:OUTPUT_VALUES_SHOWN])
    more = f" … ({flat.size} values)" if flat.size > OUTPUT_VALUES_SHOWN else ""
    return f"{port.name} {type_text(port.type)}: {shown}{more}"


def compile_text(compiled: Compiled, ram: RamBytes, arena: Arena, written: str) -> tuple[RenderableType, ...]:
    """What `midge compile` shows."""
    flash = compiled.image.flash
    graph = compiled.model.graph
    rows = [("input", port_text(PortInfo(name, graph.type(name)))) for name in graph.inputs]
    rows += [("output", port_text(PortInfo(name, graph.type(name)))) for name in graph.outputs]
    rows += [
        ("MACs", f"{graph.total_macs:,}"),
        ("RAM", ram_text(ram, arena)),
        ("flash", flash_text(flash)),
        ("built by", compiled.image.compiler),
        ("written", written),
    ]
    parts: list[RenderableType] = [heading(compiled.model.name, compiled.board), grid(rows)]
    if compiled.tuned is not None:
        parts += tuning_text(compiled.tuned)
    return tuple(parts)


def tuning_text(tuned: Tuned) -> list[RenderableType]:
    """What tuning gained, and which layers have another kernel for it."""
    (before, after), (flash_before, flash_after) = tuned.cycles, tuned.flash_bytes
    found = f"{before:,} cycles and {size(flash_before)} before, {after:,} cycles and {size(flash_after)} tuned"
    verdict = f"{1 - after / max(before, 1):.1%} fewer cycles" if tuned.is_taken else "the plan by the table is kept"
    rows = [("tuned", f"{found}: {verdict}"), ("trials", f"{tuned.trials:,}, {tuned.fresh:,} of them measured now")]
    rows += [("failed", failure) for failure in tuned.failures]
    if not tuned.layers:
        return [grid(rows)]
    listed = table("layer", "kernel before", "kernel tuned", whole=("kernel before", "kernel tuned"))
    for name, old, new in tuned.layers:
        listed.add_row(name, old, new)
    return [grid(rows), listed]


def verify_text(verification: Verification) -> tuple[RenderableType, ...]:
    """What `midge verify` shows."""
    passed = verification.passed
    verdict = Text("equal" if passed else "DIFFERENT", style="bold green" if passed else "bold red")
    count = f"{verification.mismatches:,} of {verification.values:,} values differ" if not passed else (
        f"all {verification.values:,} values of {verification.samples:,} samples"
    )  # fmt: skip
    rows = [
        ("reference", f"{verification.reference} ({verification.reference_version})"),
        ("rule", verification.tolerance),
        ("inputs", verification.data),
        ("largest", f"difference {verification.max_abs_diff:g}, relative {verification.max_rel_diff:.3g}"),
    ]
    if first := verification.first:
        place = ", ".join(str(i) for i in first.index)
        rows.append(("first", f"sample {first.sample}, {first.output}[{place}]: firmware {first.firmware}, "
                              f"reference {first.reference}; layer {first.layer}"))  # fmt: skip
    return heading(verification.model, verification.board), Text.assemble(verdict, f": {count}"), grid(rows)


def boards_text(boards: Sequence[Board], wide: bool) -> tuple[RenderableType, ...]:
    """What `midge boards` shows; chips too on a wide console."""
    chips = ("MCU",) if wide else ()
    listed = table("board", *chips, "core", "clock", "flash", "RAM", "emulated", numeric=("clock", "flash", "RAM"),
                   whole=("board", "core", "emulated"))  # fmt: skip
    for board in boards:
        chip = (board.mcu,) if wide else ()
        listed.add_row(board.name, *chip, board.core.name, clock(board.clock_hz), size(board.flash.bytes),
                       size(board.ram.bytes), board.emulated)  # fmt: skip
    return (listed,)


def cores_text(cores: Sequence[Core]) -> RenderableType:
    return Text("Bare cores, for --core: " + ", ".join(core.name for core in cores))


def board_text(board: Board, kinds: Sequence[str]) -> tuple[RenderableType, ...]:
    """What `midge boards NAME` shows."""
    rows = [
        ("name", board.name), ("vendor", board.vendor), ("MCU", board.mcu), ("core", core_at(board)),
        ("ISA", board.core.architecture), ("kernels", ", ".join(board.core.isas)),
        *((region.kind, f"{region.name}, {size(region.bytes)} at {region.base:#010x}") for region in board.regions),
        ("emulated", board.emulated),
    ]  # fmt: skip
    if power := board.power:
        rows.append(("power", f"{power.run_milliamps:g} mA running, {power.sleep_microamps:g} µA asleep, at "
                              f"{power.supply_volts:g} V ({power.source})"))  # fmt: skip
    packages = [kind if kind in kinds else f"{kind} (planned)" for kind in board.packages]
    for name, texts in (("sensors", board.sensors), ("packages", packages)):
        rows.append((name, ", ".join(texts) or "none"))
    rows += [("note", note) for note in board.notes]
    rows += [("source", source) for source in board.sources]
    return Text(board.title, style="bold"), grid(rows)


def deploy_text(package: Package) -> tuple[RenderableType, ...]:
    """What `midge deploy` shows."""
    rows = [("written", f"{package.directory} ({package.kind}, {len(package.files)} files)")]
    rows += [("file", name) for name in package.files]
    rows += [("checked", check) for check in package.checks] or [("checked", "nothing (--no-check)")]
    return heading(package.model, package.board), grid(rows)


def inspect_text(inspection: Inspection) -> tuple[RenderableType, ...]:
    """What `midge inspect` shows."""
    # Layers that the model does not name are named by their operators.
    named = any(not layer.name.startswith(layer.op) for layer in inspection.layers)
    layers = table("layer", *(("op",) if named else ()), "input", "output", "MACs", "weights",
                   numeric=("MACs", "weights"))  # fmt: skip
    for layer in inspection.layers:
        layers.add_row(layer.name, *((layer.op,) if named else ()), _shapes(layer.inputs), _shapes(layer.outputs),
                       f"{layer.macs:,}", f"{layer.weight_bytes:,}")  # fmt: skip
    layers.add_section()
    layers.add_row("total", *(("",) if named else ()), "", "", f"{inspection.macs:,}", f"{inspection.weight_bytes:,}")
    rows = [("input", port_text(port)) for port in inspection.inputs]
    rows += [("output", port_text(port)) for port in inspection.outputs]
    return Text(inspection.model, style="bold"), grid(rows), layers, *_fits_text(inspection)


def _shapes(types: Sequence[TensorType]) -> str:
    return " ".join("×".join(str(length) for length in type_.shape) for type_ in types)


def _fits_text(inspection: Inspection) -> tuple[RenderableType, ...]:
    boards = table("board", "RAM", "of it", "flash ≈", "of it", "verdict", numeric=("RAM", "of it", "flash ≈"),
                   whole=("board",))  # fmt: skip
    for fit in inspection.fits:
        boards.add_row(fit.board.name, size(fit.ram_bytes), f"{fit.ram_bytes / fit.board.ram.bytes:.0%}",
                       size(fit.flash_bytes_estimate), f"{fit.flash_bytes_estimate / fit.board.flash.bytes:.0%}",
                       _verdict(fit))  # fmt: skip
    legend = "RAM: exact activations, 1 KiB allowed for the stack. Flash: exact constants, an estimate of the code."
    return boards, Text("\n".join((legend, *inspection.advice)))


def _verdict(fit: Fit) -> str:
    planned = " (planned)" if fit.is_planned else ""
    if fit.fits:
        return f"fits{planned}"
    short = (("RAM", fit.ram_short_bytes), ("flash", fit.flash_short_bytes))
    return f"lacks {', '.join(f'{size(count)} {name}' for name, count in short if count)}{planned}"
