"""The files of an Arduino library, and their check."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from midge.deploy.emulated import build_selftest, run_selftest
from midge.deploy.project import Project, common, firmware, render_tree

HERE = Path(__file__).parent
SKETCH = "examples/SelfTest"


def files(project: Project) -> dict[str, str]:
    """All files of the library, by name. The layout is that of Arduino's library specification 1.5."""
    names = {**project.names(), "library": library(project)}
    made = render_tree(HERE / "templates", names)
    for name in ("recorded.h", "selftest.h"):
        made[f"{SKETCH}/{name}"] = common(name, names)
    made["LICENSE"] = common("LICENSE", names)
    return made | {f"src/{name}": text for name, text in project.sources.files.items()}


def library(project: Project) -> str:
    """The library's name, which is its main header's too: `kws_net` becomes `Kws_net_model`, so that they differ."""
    prefix = project.sources.prefix
    return f"{prefix[0].upper()}{prefix[1:]}_model"


def check(project: Project, folder: Path) -> list[str]:
    """Compile the library as C and the sketch as C++ against a small Arduino core, and run it on the emulated board."""
    with tempfile.TemporaryDirectory(prefix="midge-") as temporary:
        place = Path(temporary)
        shutil.copytree(folder, place / "library")
        for path in sorted((HERE / "core").iterdir()):
            shutil.copyfile(path, place / path.name)
        # Arduino's builder puts this include before a sketch and compiles it as C++.
        sketch = (folder / SKETCH / "SelfTest.ino").read_text(encoding="utf-8")
        (place / "sketch.cpp").write_text(f'#include "Arduino.h"\n{sketch}', encoding="utf-8", newline="\n")
        for name, target in (("startup.c", "startup.c"), ("link.ld", "link.ld"), ("string.h", "freestanding/string.h")):
            (place / target).parent.mkdir(exist_ok=True)
            (place / target).write_text(firmware(name, project.names()), encoding="utf-8", newline="\n")
        units = [f"library/src/{unit}" for unit in project.sources.units]
        elf = build_selftest(
            project, place, [*units, "sketch.cpp", "core.cpp"], ["library/src", f"library/{SKETCH}", "."], startup="."
        )
        return run_selftest(project, elf)
