"""The records that the API returns: what was measured, with units in the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from midge.build.image import FlashBytes
from midge.emulate.profile import FunctionCount
from midge.emulate.trace import LayerCount
from midge.ir.types import TensorType
from midge.plan.records import Plan
from midge.reference.compare import Comparison
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class RamBytes:
    """RAM of the network: row rings and tensors, its other static data, and the stack where it was measured."""

    activations: int
    static: int
    stack: int | None
    stack_bound: int | None = None
    """What the stack can't exceed, from the machine code; None where that can't be told."""

    @property
    def total(self) -> int:
        """All that is known; without a measured stack it is a lower bound."""
        return self.activations + self.static + (self.stack or 0)


@dataclass(frozen=True, slots=True)
class Arena:
    """The packing of the activations. No packing of this schedule is smaller than `lower_bound_bytes`."""

    bytes: int
    lower_bound_bytes: int
    proven_minimal: bool
    """The packing meets the lower bound, or all packings were searched."""


@dataclass(frozen=True, slots=True)
class PortInfo:
    """An input or output of the network."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One inference on the emulated board, from reset."""

    model: str
    board: Board
    macs: int
    instructions: int
    cycles: int | None
    """None on a core without a timing table."""
    cycles_note: str
    """How the cycles were estimated, and what is known of the error; or why there are none."""
    energy_note: str
    """Source of the current, or why there is no energy figure."""
    ram: RamBytes
    flash: FlashBytes
    arena: Arena
    outputs: tuple[np.ndarray, ...]
    output_ports: tuple[PortInfo, ...]
    layers: tuple[LayerCount, ...]
    numerics: str
    compiler: str
    backend: str
    input_by: str
    """`rows`: pushed row by row, so that no frame is in RAM; `frame`: written as a whole."""

    @property
    def macs_computed(self) -> int:
        """Multiply-accumulates that are left after what cannot matter was removed."""
        return sum(layer.macs for layer in self.layers)

    @property
    def latency_ms(self) -> float | None:
        return None if self.cycles is None else self.cycles / self.board.clock_hz * 1e3

    @property
    def energy_uj(self) -> float | None:
        """Energy of the inference at the board's run current; None where the board states no current."""
        power = self.board.power
        if power is None or self.cycles is None:
            return None
        seconds = self.cycles / self.board.clock_hz
        return seconds * power.run_milliamps * power.supply_volts * 1e3


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first value that differs."""

    sample: int
    output: str
    index: tuple[int, ...]
    firmware: float
    reference: float
    layer: str
    """The layer that makes this output, or the first one found to differ."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Firmware against a reference, value by value."""

    model: str
    board: Board
    reference: str
    reference_version: str
    numerics: str
    data: str
    """Where the inputs came from."""
    samples: int
    values: int
    mismatches: int
    max_abs_diff: float
    max_rel_diff: float
    tolerance: str
    first: Mismatch | None
    compiler: str
    backend: str
    on: str = "board"
    """What ran: the firmware on an emulated `board`, or a library of this computer, the `host`."""

    @property
    def passed(self) -> bool:
        return self.mismatches == 0


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One operator of the model as loaded."""

    name: str
    op: str
    inputs: tuple[TensorType, ...]
    """Types of the operands that are no constants."""
    outputs: tuple[TensorType, ...]
    macs: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits a board, from the plan alone: nothing is compiled."""

    board: Board
    activation_bytes: int
    """Arena of the plan; exact."""
    stack_allowance_bytes: int
    """Stack that building asks for; what the network really takes, only a run measures."""
    weight_bytes: int
    """Constants of the emitted network; exact."""
    code_bytes_estimate: int
    optimize: str
    """The objective of the plan that these figures are from."""

    @property
    def ram_bytes(self) -> int:
        return self.activation_bytes + self.stack_allowance_bytes

    @property
    def flash_bytes_estimate(self) -> int:
        return self.weight_bytes + self.code_bytes_estimate

    @property
    def ram_short_bytes(self) -> int:
        return max(0, self.ram_bytes - self.board.ram.bytes)

    @property
    def flash_short_bytes(self) -> int:
        return max(0, self.flash_bytes_estimate - self.board.flash.bytes)

    @property
    def fits(self) -> bool:
        return not self.ram_short_bytes and not self.flash_short_bytes

    @property
    def is_planned(self) -> bool:
        """Midge makes no firmware for the board yet, so that fitting is of no use."""
        return self.board.emulated == "planned"

    @property
    def ratio(self) -> float:
        """Needed over available, of the scarcer memory: above 1 it does not fit."""
        ram = self.ram_bytes / max(1, self.board.ram.bytes)
        return max(ram, self.flash_bytes_estimate / max(1, self.board.flash.bytes))


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a model is made of and where it fits."""

    model: str
    path: str
    """As the user wrote it, for commands to try next."""
    sha256: str
    numerics: str
    inputs: tuple[PortInfo, ...]
    outputs: tuple[PortInfo, ...]
    layers: tuple[LayerInfo, ...]
    fits: tuple[Fit, ...]
    """One for each board asked for, those it fits first, then by how close they come."""
    smallest: Plan | None = None
    """Where one target was asked for: the plan with the least RAM, which `compile --optimize ram` makes too."""

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do next, one sentence each."""
        usable = [fit for fit in self.fits if not fit.is_planned]
        fitting = [fit for fit in usable if fit.fits]
        if fitting:
            # The smallest board: the one whose memory it fills most.
            chosen = fitting[-1]
            objective = "" if chosen.optimize == "latency" else f" --optimize {chosen.optimize}"
            return (f"Measure it: midge run {self.path} --board {chosen.board.name}{objective}",)
        if not usable:
            return ("Midge makes no firmware for this board yet.",)
        nearest = usable[0]
        advice = [f"It fits none of these; {nearest.board.name} comes closest ({nearest.ratio:.2f} times its memory)."]
        if any(fit.is_planned and fit.fits for fit in self.fits):
            advice.append("It would fit planned boards, for which Midge makes no firmware yet.")
        if any(fit.ram_short_bytes for fit in usable):
            advice.append("For RAM: a smaller input, or fewer channels in the layers with the largest tensors.")
        if any(fit.flash_short_bytes for fit in usable):
            advice.append("For flash: fewer or narrower layers, or int8 weights where they are float32.")
        advice.append(f"Without a board's limits: midge run {self.path} --core cortex-m4")
        return tuple(advice)


@dataclass(frozen=True, slots=True)
class Package:
    """A project written by `deploy`."""

    kind: str
    directory: Path
    files: tuple[str, ...]
    samples: int
    """Recorded inputs that the project's self-test runs."""
    checks: tuple[str, ...]
    """What Midge did with the project before handing it over; empty where the check was skipped."""
    model: str
    board: Board
    flash: FlashBytes
    ram: RamBytes
    numerics: str


@dataclass(frozen=True, slots=True)
class Battery:
    """How long a coin cell lasts at one inference a second: run current while it computes, sleep current else."""

    cell: str
    capacity_milliamp_hours: float
    inferences_per_second: float
    mean_milliamps: float

    @property
    def days(self) -> float:
        return self.capacity_milliamp_hours / self.mean_milliamps / 24


@dataclass(frozen=True, slots=True, eq=False)
class Demonstration:
    """What the demo found. Images, labels and outputs belong together by their first index."""

    result: Result
    comparison: Comparison
    images: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    """Real values of the firmware's outputs, [samples, 10]."""
    battery: Battery | None
    """None where the board states no currents, or where an inference takes longer than a second."""
    fits: tuple[Fit, ...]

    @property
    def correct(self) -> int:
        return int((self.probabilities.argmax(1) == self.labels).sum())

    @property
    def accuracy(self) -> float:
        return self.correct / len(self.labels)


@dataclass(frozen=True, slots=True)
class Profiling:
    """What a firmware's functions executed, from its reset to its exit."""

    firmware: str
    board: Board
    args: str
    minus_args: str | None
    """The command line of the run whose counts were subtracted, or None."""
    functions: tuple[FunctionCount, ...]
    """By falling cycles."""
    instructions: int
    cycles: int
    cycles_note: str
    printed: str
    """What the firmware wrote to the console."""
    exit_status: int
    """What it returned."""
    backend: str

    @property
    def latency_ms(self) -> float:
        return self.cycles / self.board.clock_hz * 1e3
