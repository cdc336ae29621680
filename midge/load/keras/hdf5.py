"""Looks whether an HDF5 file can be read to its end: in damaged ones the library may go round in circles for ever."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from midge.errors import ModelError

_SECONDS = 6.0
_BYTES_A_SECOND = 10 << 20
_MOST_BYTES = 1 << 30
"""Of weights that are read for a look."""
_VISIT = """
import sys, h5py
def visit(name, item):
    list(item.attrs.items())
    if isinstance(item, h5py.Dataset):
        item[()]
with h5py.File(sys.argv[1]) as file:
    visit("", file)
    file.visititems(visit)
"""


def require_readable(path: Path) -> None:
    """Guard: what is in a .h5 file, or the one in a .keras archive, can be read in reasonable time.

    A process of its own reads all of it, and is ended where that takes too long. What else is wrong with the file is
    left to whoever reads it next.
    """
    if not zipfile.is_zipfile(path):
        _visit(path, path.name)
        return
    with tempfile.TemporaryDirectory(prefix="midge-keras-") as folder, zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".h5") and member.file_size <= _MOST_BYTES:
                copy = Path(folder) / "weights.h5"
                with archive.open(member) as source, copy.open("wb") as target:
                    shutil.copyfileobj(source, target)
                _visit(copy, path.name)


def _visit(file: Path, name: str) -> None:
    command = [sys.executable, "-I", "-c", _VISIT, str(file)]
    seconds = _SECONDS + file.stat().st_size / _BYTES_A_SECOND
    try:
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise ModelError(name, f"HDF5 that was not read to its end in {seconds:.0f} s", "a file of keras.Model.save",
                         "The file is damaged: save the model again") from error  # fmt: skip
