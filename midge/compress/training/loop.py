"""The descent: what the student computes comes nearer to the teacher, the float graph. Importing this needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from midge.compress.groups import KEEPING
from midge.compress.training.forms import apply
from midge.compress.training.records import Lessons, Trained, TrainOptions
from midge.compress.training.student import Student
from midge.ir.graph import Graph
from midge.ops.softmax import Softmax

Tensor = torch.Tensor
_BATCH = 16
_LEARNING_RATE, _RATES = 6e-3, (1e-4, 2e-3)
"""Of weights, whose magnitudes are round 1, times the outputs' noise over their signal at the start, within bounds:
what is nearly right moves little. It falls to 0 along half a cosine."""
_LABELS_WEIGHT = 0.1
"""Of the cross-entropy of labels, beside the outputs' relative error."""
_LOOKS = 10
"""How often the state is compared with the best so far."""
_MOST_LOOKED_AT = 128
_SMALLEST = 1e-20


def descend(student: Student, teacher: Graph, lessons: Lessons, options: TrainOptions,
            progress: Callable[..., None] | None) -> Trained:  # fmt: skip
    """Train for some steps, and keep the best state, of which the first one is the start: that whose losses fell most,
    on the samples taught or on those held out, whichever fell less.

    Ctrl-C ends it early, with the best so far.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other's threads
    try:
        return _descend(student, _Course(student, teacher, lessons), options, progress)
    finally:
        torch.set_num_threads(threads)


def _descend(student: Student, course: _Course, options: TrainOptions, progress: Callable[..., None] | None
             ) -> Trained:  # fmt: skip
    parameters = student.parameters
    optimizer = torch.optim.Adam(list(parameters.values()))
    order = np.random.default_rng(options.seed)
    best, least, done, interrupted = _copied(parameters), 1.0, 0, False
    try:
        start = course.losses()
        rate = min(max(_LEARNING_RATE * math.sqrt(course.noise), _RATES[0]), _RATES[1])
        for done in range(1, options.steps + 1):
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * (done - 1) / options.steps)) / 2
            optimizer.zero_grad()
            course.loss(course.batch(order), with_layers=True).backward()
            optimizer.step()
            if done % max(options.steps // _LOOKS, 1) == 0 or done == options.steps:
                reached = max(now / max(then, _SMALLEST) for now, then in zip(course.losses(), start, strict=True))
                if reached < least:
                    best, least = _copied(parameters), reached
            if progress is not None:
                progress(done, options.steps)
    except KeyboardInterrupt:
        interrupted = True
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(best[name])
    return Trained(student.weights(), student.trained_ranges(), done, interrupted)


def _copied(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


class _Course:
    """Samples, the teacher, and how far the student is from it."""

    def __init__(self, student: Student, teacher: Graph, lessons: Lessons) -> None:
        self.student, self.teacher, self.lessons = student, teacher, lessons
        made = student.made
        results = {node.name: node.outputs[0] for node in made.nodes}
        self.layers = [(node.outputs[0], results[node.name]) for node in teacher.nodes
                       if node.name in results and not isinstance(node.op, KEEPING)
                       and teacher.type(node.outputs[0]).dtype.is_float]  # fmt: skip
        floats = [pair for pair in zip(teacher.outputs, made.outputs, strict=True)
                  if teacher.type(pair[0]).dtype.is_float and teacher.producer(pair[0])]  # fmt: skip
        self.outputs = floats or self.layers
        """Where the outputs are integers, such as of argmax, all layers in their place."""
        self.noise = 0.0
        """The outputs' squared error over their power, of the samples looked at last."""
        self.scores = None if lessons.labels is None else self._scores()

    def _scores(self) -> str:
        """The student's value that says how likely each class is: what softmax reads, or the output itself."""
        made = self.student.made
        name = made.outputs[0]
        maker = made.producer(name)
        while maker is not None and isinstance(maker.op, KEEPING):
            name, maker = maker.inputs[0] or "", made.producer(maker.inputs[0] or "")
        return maker.inputs[0] or "" if maker is not None and isinstance(maker.op, Softmax) else name

    def batch(self, order: np.random.Generator) -> list[int]:
        taught = self.lessons.taught
        return [int(number) for number in order.choice(taught, min(_BATCH, len(taught)), replace=False)]

    def loss(self, numbers: Sequence[int], *, with_layers: bool) -> Tensor:
        """The outputs' squared error over their power, with the same of the layers where asked, and that of labels."""
        samples = zip(*(self.lessons.samples[number] for number in numbers), strict=True)
        batch = [torch.tensor(np.stack(arrays)) for arrays in samples]
        with torch.no_grad():
            wanted = real_values(self.teacher, batch)
        given = self.student.values(batch)
        total = torch.stack([_relative(wanted[theirs], given[ours]) for theirs, ours in self.outputs]).mean()
        self.noise = float(total.detach())
        if with_layers:
            total = total + torch.stack([_relative(wanted[theirs], given[ours]) for theirs, ours in self.layers]).mean()
        if self.scores is not None:
            assert self.lessons.labels is not None
            scores = given[self.scores].reshape(len(numbers), -1)
            labels = torch.tensor(self.lessons.labels[list(numbers)])
            total = total + _LABELS_WEIGHT * functional.cross_entropy(scores, labels)
        return total

    def losses(self) -> tuple[float, float]:
        """Of samples that are taught, and of those that are held out, without the layers'."""
        return self._loss_of(self.lessons.taught), self._loss_of(self.lessons.held_out)

    def _loss_of(self, numbers: Sequence[int]) -> float:
        some = numbers[:: -(-len(numbers) // _MOST_LOOKED_AT)]
        parts = [some[first : first + _BATCH] for first in range(0, len(some), _BATCH)]
        with torch.no_grad():
            losses = [float(self.loss(part, with_layers=False)) * len(part) for part in parts]
        return sum(losses) / len(some)


def _relative(wanted: Tensor, given: Tensor) -> Tensor:
    return (given - wanted).square().sum() / wanted.square().sum().clamp_min(_SMALLEST)


def real_values(graph: Graph, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """All results of a float graph for a batch of inputs, [samples, *shape], by name."""
    constants = {value.name: torch.tensor(value.data) for value in graph.constants()}

    def one(*sample: Tensor) -> dict[str, Tensor]:
        known = constants | dict(zip(graph.inputs, sample, strict=True))
        for node in graph.nodes:
            operands = [None if name is None else known[name] for name in node.inputs]
            known[node.outputs[0]] = apply(node.op, operands, graph.input_types(node), graph.type(node.outputs[0]))
        return {name: known[name] for node in graph.nodes for name in node.outputs}

    return torch.func.vmap(one)(*inputs)
