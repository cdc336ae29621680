"""Work on many items, each in a forked process of its own with a limit of time and of address space (POSIX)."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")
Record = dict[str, Any]
_PATIENCE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """What one item may take. Programs that it starts have the same limit of address space, and end with it."""

    seconds: float
    memory_bytes: int


@dataclass(slots=True)
class _Child:
    position: int
    pid: int
    pipe: int
    deadline: float
    started: float
    received: bytearray = field(default_factory=bytearray)


def each(work: Callable[[Item], Record], items: Sequence[Item], limits: Limits, jobs: int
         ) -> Iterator[tuple[Item, Record]]:  # fmt: skip
    """`work` of every item, as they end. Records get `seconds`, and `died` (why) where there is no result."""
    waiting, running = list(enumerate(items))[::-1], list[_Child]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                position, item = waiting.pop()
                running.append(_start(work, position, item, limits))
            for child in _ended(running):
                running.remove(child)
                yield items[child.position], _record(child)
    finally:
        for child in running:
            _kill(child)
            os.waitpid(child.pid, 0)


def _start(work: Callable[[Item], Record], position: int, item: Item, limits: Limits) -> _Child:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        now = time.monotonic()
        return _Child(position, pid, reading, now + limits.seconds, now)
    code = 70
    try:
        os.close(reading)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(limits.seconds) + 5, int(limits.seconds) + 5))
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(work(item)).encode())
        code = 0
    finally:
        os._exit(code)


def _ended(running: list[_Child]) -> list[_Child]:
    """Children that have closed their pipe, or whose time is over."""
    ready, _, _ = select.select([child.pipe for child in running], [], [], _PATIENCE_SECONDS)
    ended = []
    for child in running:
        if child.pipe in ready:
            block = os.read(child.pipe, 1 << 16)
            child.received += block
            if not block:
                ended.append(child)
                continue
        if time.monotonic() > child.deadline:
            _kill(child)
            ended.append(child)
    return ended


def _kill(child: _Child) -> None:
    """The child and all that it started."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child.pid, signal.SIGKILL)


def _record(child: _Child) -> Record:
    seconds = time.monotonic() - child.started
    _, status = os.waitpid(child.pid, 0)
    os.close(child.pipe)
    try:
        record: Record = json.loads(child.received)
    except ValueError:
        record = {"died": _reason(status, time.monotonic() > child.deadline)}
    return record | {"seconds": round(seconds, 2)}


def _reason(status: int, is_late: bool) -> str:
    if is_late:
        return "took longer than allowed"
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
