"""The files of a CMake project, and their check."""

from __future__ import annotations

from pathlib import Path

from midge.deploy.emulated import build_selftest, run_selftest
from midge.deploy.project import Project, common, firmware, render_tree

TEMPLATES = Path(__file__).parent / "templates"


def files(project: Project) -> dict[str, str]:
    """All files of the project, by name."""
    names = project.names()
    made = render_tree(TEMPLATES, names)
    for name in ("recorded.h", "selftest.h"):
        made[f"example/{name}"] = common(name, names)
    for name in ("startup.c", "link.ld"):
        made[f"firmware/{name}"] = firmware(name, names)
    made["firmware/freestanding/string.h"] = firmware("string.h", names)
    made["LICENSE"] = common("LICENSE", names)
    folder = network_folder(project)
    made |= {f"{folder}/{name}": text for name, text in project.sources.files.items()}
    if project.portable is not None:
        made |= {f"src/portable/{name}": text for name, text in project.portable.files.items()}
    return made


def network_folder(project: Project) -> str:
    """Where the network for the board's core lies."""
    return "src" if project.portable is None else f"src/{project.compiled.board.core.name}"


def check(project: Project, folder: Path) -> list[str]:
    """Build the self-test firmware as the CMake file does, and run it on the emulated board."""
    network = network_folder(project)
    units = [f"{network}/{unit}" for unit in project.sources.units]
    elf = build_selftest(project, folder, [*units, "example/main.c"], [network, "example"], startup="firmware")
    return run_selftest(project, elf)
