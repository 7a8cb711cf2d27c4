"""Save and load estimators and results without pickle.

A saved file is an uncompressed zip: ``manifest.json`` describes the object and can be read with any
text tool before anything is built, ``arrays/*.npy`` hold the numbers, ``manifest.sha256`` guards the
manifest, and the manifest guards every array.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import re
import secrets
import struct
import warnings
import zipfile
from importlib.metadata import version
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import InconsistentVersionWarning

import causalkit
from causalkit._decoding import Decoder, plain_dtype
from causalkit._encoding import Encoder
from causalkit.exceptions import PersistenceError

__all__ = ["FORMAT_VERSION", "load", "read_manifest", "save"]

FORMAT = "causalkit"
FORMAT_VERSION = 1

_MANIFEST, _DIGEST = "manifest.json", "manifest.sha256"
_ARRAY_NAME = re.compile(r"arrays/\d{6}\.npy")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal objects give equal files
_HEADER_LIMIT = 10_000
# What zipfile, json, numpy and pandas raise on bytes that are not what they should be.
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RuntimeError,
    SyntaxError,
)


# ---------------------------------------------------------------------- save


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write an estimator or a result to one file, without pickle.

    Stored are estimators of causalkit, scikit-learn estimators and splitters inside them, results and
    other records (dataclasses) of causalkit, and inside those: numbers, strings, lists, tuples, dicts,
    sets, numpy arrays and scalars, compressed sparse matrices of scipy, pandas Series, DataFrame and
    Index. An array that is referred to twice is stored once. Splines of scipy are stored as knots and
    coefficients, and the trees of :class:`causalkit.trees.FittedTrees` as arrays.

    Parameters
    ----------
    obj : object
        What to save.
    path : str or path-like
        File to write. It is replaced in one step, so that an interrupt leaves the old file whole.

    Raises
    ------
    PersistenceError
        If something inside cannot be stored: a function, a torch module, a random generator, the
        compiled part of a scikit-learn model (trees). The message names the attribute.

    See Also
    --------
    load : Read the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from causalkit import InferenceResult, load, save
    >>> result = InferenceResult(estimate=np.array([1.5]), cov=np.eye(1), names=("effect",), n_obs=10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(result, os.path.join(folder, "result.causalkit"))
    ...     again = load(os.path.join(folder, "result.causalkit"))
    >>> again.estimate
    array([1.5])
    """
    encoder = Encoder()
    root = encoder.encode(obj, type(obj).__name__)
    path = os.fspath(path)
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            _write(file, root, encoder)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:  # after a success there is nothing left to remove
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def _write(file: IO[bytes], root: Any, encoder: Encoder) -> None:
    members = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, array in enumerate(encoder.arrays):
            name = f"arrays/{number:06d}.npy"
            with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as member:
                hashed = _HashingWriter(member)
                np.lib.format.write_array(hashed, array, allow_pickle=False)
            members[name] = {
                "sha256": hashed.digest.hexdigest(),
                "dtype": array.dtype.str,
                "shape": list(array.shape),
            }
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "versions": {
                "causalkit": causalkit.__version__,
                **{name: version(name) for name in ("numpy", "pandas", "scikit-learn")},
            },
            "classes": sorted(encoder.classes),
            "members": members,
            "object": root,
        }
        text = json.dumps(manifest, indent=1, allow_nan=False).encode("ascii")
        archive.writestr(zipfile.ZipInfo(_MANIFEST, _EPOCH), text)
        archive.writestr(zipfile.ZipInfo(_DIGEST, _EPOCH), hashlib.sha256(text).hexdigest())


class _HashingWriter:
    """Pass bytes on and hash them on the way, so that no array is held in memory twice."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target = target
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.target.write(data)


# ---------------------------------------------------------------------- load


def load(path: str | os.PathLike[str]) -> Any:
    """Read an object that :func:`save` wrote.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    object
        The saved object, with the same numbers.

    Raises
    ------
    PersistenceError
        If the file is truncated, damaged or altered, of an unknown or newer format, or names a class
        outside causalkit and scikit-learn.
    OSError
        If the file cannot be opened.

    Warns
    -----
    InconsistentVersionWarning
        If the file holds scikit-learn estimators of another scikit-learn version.

    Notes
    -----
    The digests guard against damage and edits by hand, not against someone who recomputes them. Even
    such a file cannot execute code: only classes of causalkit and scikit-learn are looked up, no
    constructor is called, and no pickle is read. What its numbers say is another matter, and what a
    model does once it is fitted again follows its parameters: use files whose author you know.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                manifest = _read_manifest(archive, os.fstat(file.fileno()).st_size)
                _check_versions(manifest)
                return Decoder(_ArrayReader(archive, manifest["members"])).decode(manifest["object"])
        except PersistenceError:
            raise
        except _DAMAGE as error:
            raise PersistenceError(
                f"{os.fspath(path)} cannot be read ({type(error).__name__}: {str(error)[:200]}): it is not a causalkit "
                "file, or it was damaged or altered. Save the object again."
            ) from error


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Description of a saved file (versions, classes, structure), building nothing.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    dict
        Keys ``format``, ``format_version``, ``versions``, ``classes``, ``members`` and ``object``.

    Raises
    ------
    PersistenceError
        As for :func:`load`.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_manifest(archive, os.fstat(file.fileno()).st_size)
        except PersistenceError:
            raise
        except _DAMAGE as error:
            raise PersistenceError(f"{os.fspath(path)} is not a readable causalkit file: {error}") from error


def _read_manifest(archive: zipfile.ZipFile, file_size: int) -> dict[str, Any]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(set(names)) < len(names) or not all(n in (_MANIFEST, _DIGEST) or _ARRAY_NAME.fullmatch(n) for n in names):
        raise PersistenceError(f"the file has members that do not belong to the format: {names[:5]}.")
    # Stored members cannot be larger than the file: there is nothing that could expand.
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise PersistenceError(f"member {info.filename} is compressed: expected plain bytes; it was altered.")
    if sum(info.file_size for info in infos) > file_size:
        raise PersistenceError("the members are declared larger than the file: it was altered.")
    text = archive.read(_MANIFEST)
    if archive.read(_DIGEST) != hashlib.sha256(text).hexdigest().encode():
        raise PersistenceError("manifest.json does not match its digest: the file was damaged or altered.")
    manifest = json.loads(text)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise PersistenceError("manifest.json is not that of a causalkit file.")
    found = manifest.get("format_version")
    if type(found) is not int or found != FORMAT_VERSION:
        newer = "upgrade causalkit to read it" if type(found) is int and found > FORMAT_VERSION else "it was altered"
        raise PersistenceError(f"format_version is {found!r}, this causalkit reads {FORMAT_VERSION}: {newer}.")
    if set(manifest["members"]) != {n for n in names if n.startswith("arrays/")}:
        raise PersistenceError("the arrays are not those that manifest.json lists: the file was altered.")
    return manifest


def _check_versions(manifest: dict[str, Any]) -> None:
    foreign = [str(name) for name in manifest["classes"] if str(name).startswith("sklearn.")]
    written, current = str(manifest["versions"]["scikit-learn"]), version("scikit-learn")
    if foreign and written != current:
        names = ", ".join(name.partition(":")[2] for name in foreign)
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=names, current_sklearn_version=current, original_sklearn_version=written
            ),
            stacklevel=3,
        )


class _ArrayReader:
    """Arrays by number, each verified against the manifest and handed out once."""

    def __init__(self, archive: zipfile.ZipFile, members: dict[str, dict[str, Any]]) -> None:
        self.archive = archive
        self.left = dict(members)

    def __call__(self, number: int) -> NDArray[Any]:
        name = f"arrays/{number:06d}.npy"
        entry = self.left.pop(name, None)
        if entry is None:
            raise PersistenceError(f"{name} is not listed, or is used twice: the file was altered.")
        data = bytearray(self.archive.getinfo(name).file_size)
        with self.archive.open(name) as member:
            if member.readinto(data) != len(data):  # type: ignore[attr-defined]
                raise PersistenceError(f"{name} is truncated.")
            member.read()  # the end of the member, where zipfile compares its checksum
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise PersistenceError(f"{name} does not match its digest: the file was damaged or altered.")
        return _parse_npy(data, name, entry)


def _parse_npy(data: bytearray, name: str, entry: dict[str, Any]) -> NDArray[Any]:
    """Array over the bytes of a .npy member, after its declared size was compared with what is there."""
    stream = io.BytesIO(data[: _HEADER_LIMIT + 16])
    magic = np.lib.format.read_magic(stream)
    if magic != (1, 0):
        raise PersistenceError(f"{name} has .npy version {magic}, expected (1, 0).")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_LIMIT)
    if dtype != plain_dtype(dtype.str) or dtype.str != entry["dtype"] or list(shape) != entry["shape"]:
        raise PersistenceError(f"{name} is {dtype} of shape {shape}, manifest.json says otherwise.")
    count = math.prod(shape)
    if count * dtype.itemsize != len(data) - stream.tell() or min(shape, default=0) < 0:
        raise PersistenceError(
            f"{name} declares shape {shape} of {dtype}, but holds {len(data) - stream.tell()} bytes."
        )
    if count == 0 or dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
