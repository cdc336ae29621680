"""Sources -> a library of this computer, for whole data sets in one call; compiled once per user and processor."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jinja2

from midge.build import zig
from midge.build.tools import cached
from midge.emit.sources import Sources
from midge.errors import InternalError

HARNESS = Path(__file__).parent / "harness"
# No contraction: a fused multiply-add rounds once where the reference rounds twice.
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno")


@dataclass(frozen=True, slots=True)
class HostLibrary:
    """A network as shared libraries of this computer: equal copies, each with memory of its own."""

    sources: Sources
    paths: tuple[Path, ...]
    compiler: str


def build_host(sources: Sources, copies: int) -> HostLibrary:
    """Compile a network for this computer, or find it in the user's cache.

    A network keeps its rows in static memory, so each thread needs a copy of the library: systems load a file only
    once, whatever it is called with.
    """
    if any(unit.endswith(".S") for unit in sources.units):
        raise InternalError("host library", "assembly", "a plan for the host board")
    with tempfile.TemporaryDirectory(prefix="midge-") as temporary:
        folder = Path(temporary)
        for name, text in sources.files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        source = folder / f"{sources.prefix}_host_library.c"
        source.write_text(_library_text(sources), encoding="utf-8", newline="\n")
        first = zig.host_library(source, flags=FLAGS, cpu="native")
    paths = [first]
    for number in range(1, copies):
        paths.append(cached(f"{first.stem}-{number}{first.suffix}", lambda path: _copy(first, path)))
    return HostLibrary(sources, tuple(paths), f"zig cc {zig.version()}")


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _library_text(sources: Sources) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HARNESS), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("library.c.j2").render(sources=sources)
