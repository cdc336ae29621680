"""Damage inside of archives: members of .keras and .pt2 files, their JSON, and the attributes of .h5 files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

_DATE = (1980, 1, 1, 0, 0, 0)
Change = Callable[[bytes, Random], bytes]
Other = Callable[[Any, Random], Any]
"""Another value of the same kind."""


def members(content: bytes) -> dict[str, bytes]:
    """The files in a zip archive, by name, in order."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def rezipped(files: dict[str, bytes]) -> bytes:
    """An archive of these files, not compressed, of one date."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return whole.getvalue()


def damaged_member(content: bytes, rng: Random, change: Change) -> bytes:
    """One member changed, removed, renamed, emptied or put in another's place."""
    files = members(content)
    name, other = rng.choice(sorted(files)), rng.choice(sorted(files))
    what = rng.choice(("change", "change", "change", "remove", "rename", "empty", "exchange"))
    if what == "remove":
        del files[name]
    elif what == "rename":
        files[name + "x"] = files.pop(name)
    elif what == "exchange":
        files[name], files[other] = files[other], files[name]
    else:
        files[name] = change(files[name], rng) if what == "change" and files[name] else b""
    return rezipped(files)


def damaged_json(content: bytes, rng: Random, other: Other) -> bytes:
    """Values of one JSON member; the largest one, which holds the network, as often as all others together."""
    files = members(content)
    texts = sorted((name for name in files if name.endswith(".json")), key=lambda name: -len(files[name]))
    name = rng.choice([texts[0]] * len(texts) + texts)
    files[name] = edited_json(files[name], rng, other)
    return rezipped(files)


def damaged_h5(content: bytes, rng: Random, other: Other) -> bytes:
    """The configuration of the model in an HDF5 file, or the shape or name of one of its arrays."""
    import h5py

    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        if rng.random() < 0.7:
            file.attrs["model_config"] = edited_json(str(file.attrs["model_config"]).encode(), rng, other).decode()
            file.flush()
            return memory.getvalue()
        arrays: list[str] = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        name = rng.choice(sorted(arrays))
        array = np.asarray(file[name])
        del file[name]
        if rng.random() < 0.7:
            file[name] = rng.choice((array.reshape(-1), array[:-1], array.astype("int8"), array[None], array.T))
        file.flush()
        return memory.getvalue()


def edited_json(text: bytes, rng: Random, other: Other) -> bytes:
    """One to three values changed, removed or doubled, wherever they are."""
    whole = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(whole))
        if places:
            _edit(*rng.choice(places), rng, other)
    return json.dumps(whole).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of everything inside a value."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        one = pending.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else []
        found += [(one, key) for key in keys]
        pending += [one[key] for key in keys]
    return found


def _edit(container: Any, key: Any, rng: Random, other: Other) -> None:
    value, dice = container[key], rng.random()
    if dice < 0.1:
        del container[key]
    elif dice < 0.2:
        container[key] = rng.choice((None, [], {}, "", 0, [value], -1, 1e300))
    elif isinstance(value, dict):
        if value:
            _edit(value, rng.choice(sorted(value)), rng, other)
    elif isinstance(value, list):
        if value:
            value.append(rng.choice(value)) if dice < 0.6 else value.reverse()
    elif value is None:
        container[key] = rng.choice((0, 1, "relu", [1, 1], True))
    else:
        container[key] = other(value, rng)
