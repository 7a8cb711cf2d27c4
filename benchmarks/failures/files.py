"""Saved files that are damaged, cut, extended, or forged: refused, or equal to the original."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from causalkit import load, save
from causalkit.exceptions import PersistenceError

__all__ = ["Damage", "Payload", "damaged", "drawn_damage", "file_problem", "forgeries", "saved_bytes"]


@dataclass(frozen=True)
class Damage:
    """A change of bytes: at a share of the length, flip some bits, cut, insert, or write over.

    Attributes
    ----------
    kind : {"flip", "cut", "grow", "overwrite", "drop"}
    place : float
        Share of the length, from 0 to 1.
    data : bytes
        Bits to flip, or bytes to put in.
    """

    kind: str
    place: float
    data: bytes


def saved_bytes(fitted: Any) -> bytes:
    """The file of an object."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved"
        save(fitted, path)
        return path.read_bytes()


def drawn_damage() -> st.SearchStrategy[Damage]:
    """Any damage of up to 64 bytes."""
    kinds = st.sampled_from(["flip", "cut", "grow", "overwrite", "drop"])
    return st.builds(Damage, kinds, st.floats(0, 1), st.binary(min_size=1, max_size=64))


def damaged(content: bytes, damage: Damage) -> bytes:
    """The bytes after the damage."""
    at = min(int(damage.place * len(content)), len(content) - 1)
    if damage.kind == "flip":
        part = content[at : at + len(damage.data)]
        flipped = bytes(a ^ b for a, b in zip(part, damage.data, strict=False))
        return content[:at] + flipped + content[at + len(part) :]
    if damage.kind == "cut":
        return content[:at]
    if damage.kind == "grow":
        return content[:at] + damage.data + content[at:]
    if damage.kind == "overwrite":
        return content[:at] + damage.data + content[at + len(damage.data) :]
    return content[:at] + content[at + len(damage.data) :]


class Payload:
    """An object that makes a folder when it is unpickled: a sign that a file was executed."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: dict[str, bytes]) -> bytes:
    """A file of these members whose digests are right again, as a forger would write it."""
    manifest = json.loads(members["manifest.json"])
    for name in manifest["members"]:
        if name in members:
            manifest["members"][name]["sha256"] = hashlib.sha256(members[name]).hexdigest()
    text = json.dumps(manifest).encode()
    members = members | {"manifest.json": text, "manifest.sha256": hashlib.sha256(text).hexdigest().encode()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def _object_array(payload: Payload) -> bytes:
    target = io.BytesIO()
    np.save(target, np.array([payload], dtype=object), allow_pickle=True)
    return target.getvalue()


def forgeries(content: bytes, mark: str) -> Iterator[tuple[str, bytes]]:
    """Files with code in them, in every place that code could be; run, they would make the folder ``mark``."""
    payload, members = Payload(mark), _members(content)
    pickled = pickle.dumps(payload)
    yield "a pickle in place of the file", pickled
    arrays = [name for name in members if name.endswith(".npy")]
    for name in arrays[:2]:
        yield f"a pickle in {name}", _zipped(members | {name: pickled})
        yield f"an object array in {name}", _zipped(members | {name: _object_array(payload)})
        yield f"{name} left out", _zipped({key: value for key, value in members.items() if key != name})
    yield "a further member", _zipped(members | {"code.pkl": pickled})
    yield "a further array", _zipped(members | {"arrays/999999.npy": _object_array(payload)})
    manifest = json.loads(members["manifest.json"])
    for cls in ("os:mkdir", "builtins:eval", "subprocess:Popen", "causalkit.persistence:os", "sklearn.utils:Bunch"):
        forged = manifest | {"object": {"type": "instance", "id": 0, "class": cls, "state": {"path": mark}}}
        yield f"the class {cls}", _zipped(members | {"manifest.json": json.dumps(forged).encode()})
    for node in ({"type": "call", "function": "os.mkdir", "items": [mark]}, {"type": "ref", "id": 10**9}, 7.5, [[]]):
        forged = manifest | {"object": node}
        yield f"the node {str(node)[:30]}", _zipped(members | {"manifest.json": json.dumps(forged).encode()})


def file_problem(content: bytes, is_equal: Callable[[Any], bool], mark: Path | None = None) -> str:
    """What is wrong with the way that a file is read, or nothing."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "saved"
        path.write_bytes(content)
        try:
            found = load(path)
        except PersistenceError:
            found = None
        except Exception as error:  # any other class is a finding
            return f"{type(error).__name__}: {str(error)[:120]}"
    if mark is not None and mark.exists():
        return "the file was executed"
    if found is not None and not is_equal(found):
        return "another object was read without an error"
    return ""
