"""Records as JSON objects (docs/json.md): one name for one thing, in all verbs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from midge import __version__
from midge.build.compiled import Compiled, Tuned
from midge.ir.types import TensorType
from midge.plan.records import Plan
from midge.report.records import (
    Arena,
    Demonstration,
    Fit,
    Inspection,
    Mismatch,
    Package,
    PortInfo,
    RamBytes,
    Result,
    Verification,
)
from midge.targets.records import Board, Core

Json = dict[str, Any]


def dump(value: Any) -> str:
    """JSON text. Numbers that JSON does not have (NaN, infinities) become strings, so that every parser reads it."""
    return json.dumps(_finite(value), indent=2, allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def target_json(model: str, board: Board) -> Json:
    """The first fields of every object about a model on a board."""
    return {"model": model, "board": board.name, "core": board.core.name, "clock_hz": board.clock_hz or None}


def run_json(result: Result) -> Json:
    """The object of `midge run`."""
    return {
        **target_json(result.model, result.board),
        "macs": result.macs,
        "instructions": result.instructions,
        "cycles": result.cycles,
        "latency_ms": result.latency_ms,
        "energy_uj": result.energy_uj,
        "ram_bytes": ram_json(result.ram),
        "flash_bytes": flash_json(result.flash.weights, result.flash.code),
        "outputs": [output.ravel().tolist() for output in result.outputs],
        "layers": [
            {"name": layer.name, "op": layer.op, "macs": layer.macs, "instructions": layer.instructions,
             "cycles": layer.cycles}
            for layer in result.layers
        ],
        "macs_computed": result.macs_computed,
        "arena": arena_json(result.arena),
        "input_by": result.input_by,
        "output_types": [port_json(port) for port in result.output_ports],
        "timing_note": result.cycles_note,
        "energy_note": result.energy_note,
        "numerics": result.numerics,
        "compiler": result.compiler,
        "backend": result.backend,
        "midge": __version__,
    }  # fmt: skip


def compile_json(compiled: Compiled) -> Json:
    """The object of `midge compile`; the stack is null, because nothing has run."""
    image, plan, graph = compiled.image, compiled.plan, compiled.model.graph
    return {
        **target_json(compiled.model.name, compiled.board),
        "model_sha256": compiled.model.sha256,
        "macs": graph.total_macs,
        "ram_bytes": ram_json(RamBytes(image.arena_bytes, image.static_bytes, None, image.stack.bytes)),
        "flash_bytes": flash_json(image.flash.weights, image.flash.code),
        "arena": arena_json(Arena(plan.arena_bytes, plan.lower_bound_bytes, plan.proven_minimal)),
        "inputs": [port_json(PortInfo(name, graph.type(name))) for name in graph.inputs],
        "outputs": [port_json(PortInfo(name, graph.type(name))) for name in graph.outputs],
        "layers": [{"name": layer.name, "op": layer.op, "macs": layer.macs} for layer in compiled.sources.layers],
        "optimize": compiled.options.optimize,
        "input_by": "rows" if plan.input_rows else "frame",
        "tuning": None if compiled.tuned is None else tuning_json(compiled.tuned),
        "numerics": compiled.model.numerics,
        "compiler": image.compiler,
        "midge": __version__,
    }


def tuning_json(tuned: Tuned) -> Json:
    """What tuning changed: figures by the shipped table, and tuned."""
    return {
        "trials": tuned.trials,
        "measured": tuned.fresh,
        "taken": tuned.is_taken,
        "cycles": {"before": tuned.cycles[0], "after": tuned.cycles[1]},
        "flash_bytes": {"before": tuned.flash_bytes[0], "after": tuned.flash_bytes[1]},
        "layers": [{"name": name, "before": before, "after": after} for name, before, after in tuned.layers],
        "failures": list(tuned.failures),
    }


def verify_json(verification: Verification) -> Json:
    """The object of `midge verify`."""
    return {
        **target_json(verification.model, verification.board),
        "on": verification.on,
        "samples": verification.samples,
        "values": verification.values,
        "mismatches": verification.mismatches,
        "max_abs_diff": verification.max_abs_diff,
        "max_rel_diff": verification.max_rel_diff,
        "reference": verification.reference,
        "reference_version": verification.reference_version,
        "tolerance": verification.tolerance,
        "data": verification.data,
        "first_mismatch": _mismatch_json(verification.first),
        "numerics": verification.numerics,
        "compiler": verification.compiler,
        "backend": verification.backend,
        "midge": __version__,
    }


def _mismatch_json(first: Mismatch | None) -> Json | None:
    if first is None:
        return None
    return {
        "sample": first.sample, "output": first.output, "index": list(first.index), "firmware": first.firmware,
        "reference": first.reference, "layer": first.layer,
    }  # fmt: skip


def inspect_json(inspection: Inspection) -> Json:
    """The object of `midge inspect`."""
    return {
        "model": inspection.model,
        "model_sha256": inspection.sha256,
        "macs": inspection.macs,
        "weight_bytes": inspection.weight_bytes,
        "inputs": [port_json(port) for port in inspection.inputs],
        "outputs": [port_json(port) for port in inspection.outputs],
        "layers": [
            {"name": layer.name, "op": layer.op, "inputs": [_type_json(type_) for type_ in layer.inputs],
             "outputs": [_type_json(type_) for type_ in layer.outputs], "macs": layer.macs,
             "weight_bytes": layer.weight_bytes}
            for layer in inspection.layers
        ],
        "boards": [fit_json(fit) for fit in inspection.fits],
        "minimum_ram": None if inspection.smallest is None else minimum_ram_json(inspection.smallest),
        "numerics": inspection.numerics,
        "midge": __version__,
    }  # fmt: skip


def minimum_ram_json(plan: Plan) -> Json:
    """The activations that `compile --optimize ram` reaches, and what lives when, in steps of the schedule."""
    return {
        "board": plan.board.name,
        "activations": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "any_plan_bytes": plan.any_plan_bytes,
        "proven_minimal": plan.proven_minimal,
        "input_by": "rows" if plan.input_rows else "frame",
        "steps": len(plan.schedule),
        "buffers": [
            {"name": buffer.name, "role": buffer.role, "bytes": buffer.bytes, "offset": buffer.offset,
             "rows": buffer.height, "rows_in_all": buffer.padded_rows, "lives": [list(span) for span in buffer.spans]}
            for buffer in plan.buffers
        ],
    }  # fmt: skip


def fit_json(fit: Fit) -> Json:
    """One board of `midge inspect`. The stack is an allowance and the code an estimate, as the names say."""
    return {
        "board": fit.board.name,
        "emulated": fit.board.emulated,
        "fits": fit.fits,
        "ratio": fit.ratio,
        "ram_activations_bytes": fit.activation_bytes,
        "ram_stack_allowance_bytes": fit.stack_allowance_bytes,
        "ram_needed_bytes": fit.ram_bytes,
        "ram_available_bytes": fit.board.ram.bytes,
        "ram_short_bytes": fit.ram_short_bytes,
        "flash_weights_bytes": fit.weight_bytes,
        "flash_code_estimate_bytes": fit.code_bytes_estimate,
        "flash_estimate_bytes": fit.flash_bytes_estimate,
        "flash_available_bytes": fit.board.flash.bytes,
        "flash_short_bytes": fit.flash_short_bytes,
        "optimize": fit.optimize,
    }


def deploy_json(package: Package) -> Json:
    """The object of `midge deploy`."""
    return {
        **target_json(package.model, package.board),
        "kind": package.kind,
        "directory": str(package.directory),
        "files": list(package.files),
        "samples": package.samples,
        "checks": list(package.checks),
        "ram_bytes": ram_json(package.ram),
        "flash_bytes": flash_json(package.flash.weights, package.flash.code),
        "numerics": package.numerics,
        "midge": __version__,
    }


def demo_json(found: Demonstration) -> Json:
    """The object of `midge demo`: that of `midge run` for the first digit, and what the others add."""
    battery, comparison = found.battery, found.comparison
    return {
        **run_json(found.result),
        "samples": len(found.labels),
        "correct": found.correct,
        "accuracy": found.accuracy,
        "labels": found.labels.tolist(),
        "predictions": found.probabilities.argmax(1).tolist(),
        "values": comparison.values,
        "mismatches": comparison.mismatches,
        "reference": "numpy",
        "battery": None if battery is None else {
            "cell": battery.cell, "capacity_milliamp_hours": battery.capacity_milliamp_hours,
            "inferences_per_second": battery.inferences_per_second, "mean_milliamps": battery.mean_milliamps,
            "days": battery.days,
        },
        "fits": [fit.board.name for fit in found.fits if fit.fits],
    }  # fmt: skip


def board_json(board: Board, kinds: Sequence[str]) -> Json:
    """One object of `midge boards`; `kinds` are the kinds of package that `midge deploy` makes."""
    power = board.power
    return {
        "name": board.name,
        "title": board.title,
        "vendor": board.vendor,
        "mcu": board.mcu,
        "core": board.core.name,
        "clock_hz": board.clock_hz,
        "flash_bytes": board.flash.bytes,
        "ram_bytes": board.ram.bytes,
        "emulated": board.emulated,
        "regions": [
            {"name": region.name, "kind": region.kind, "base": region.base, "bytes": region.bytes}
            for region in board.regions
        ],
        "power": None if power is None else {
            "supply_volts": power.supply_volts, "run_milliamps": power.run_milliamps,
            "sleep_microamps": power.sleep_microamps, "source": power.source,
        },
        "sensors": list(board.sensors),
        "packages": [kind for kind in kinds if kind in board.packages],
        "packages_planned": [kind for kind in board.packages if kind not in kinds],
        "notes": list(board.notes),
        "sources": list(board.sources),
    }  # fmt: skip


def core_json(core: Core) -> Json:
    """A core, for `midge boards CORE`."""
    return {
        "name": core.name, "title": core.title, "architecture": core.architecture, "kernels": list(core.isas),
        "hardware_float": core.hardware_float, "timing_table": bool(core.timing), "unicorn": bool(core.unicorn_model),
        "qemu_machine": core.qemu_machine, "sources": list(core.sources),
    }  # fmt: skip


def ram_json(ram: RamBytes) -> Json:
    """`stack` is null and `total` is what is known so far where nothing has run."""
    return {
        "activations": ram.activations, "static": ram.static, "stack": ram.stack, "total": ram.total,
        "stack_bound": ram.stack_bound,
    }  # fmt: skip


def flash_json(weights: int, code: int) -> Json:
    return {"weights": weights, "code": code, "total": weights + code}


def arena_json(arena: Arena) -> Json:
    return {
        "bytes": arena.bytes, "lower_bound_bytes": arena.lower_bound_bytes, "proven_minimal": arena.proven_minimal,
    }  # fmt: skip


def port_json(port: PortInfo) -> Json:
    return {"name": port.name, **_type_json(port.type)}


def _type_json(type_: TensorType) -> Json:
    quantization = type_.quantization
    if quantization is None:
        return {"dtype": type_.dtype.value, "shape": list(type_.shape), "quantization": None}
    return {
        "dtype": type_.dtype.value,
        "shape": list(type_.shape),
        "quantization": {
            "scales": list(quantization.scales), "zero_points": list(quantization.zero_points),
            "axis": quantization.axis,
        },
    }  # fmt: skip
