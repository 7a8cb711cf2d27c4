"""Where data files are: a folder of the user's, the shipped folder, a cache that is filled on request.

Nothing is downloaded on import, and nothing without a checksum that the caller states.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from causalkit.exceptions import DataNotFoundError, DatasetNotFoundError

__all__ = ["cache_directory", "data_override", "fetch", "find_provided", "find_shipped"]

CHUNK_BYTES = 1 << 18
_PACKAGE = Path(__file__).resolve().parent


def data_override() -> Path | None:
    """Return the folder named by the environment variable ``CAUSALKIT_DATA``, or ``None``."""
    value = os.environ.get("CAUSALKIT_DATA")
    return Path(value).expanduser() if value else None


def cache_directory() -> Path:
    """Return the folder that downloads are kept in; it is not created.

    ``CAUSALKIT_CACHE`` if set, else the user's cache folder of the platform: ``%LOCALAPPDATA%`` on
    Windows, ``~/Library/Caches`` on macOS, ``$XDG_CACHE_HOME`` or ``~/.cache`` elsewhere, each with
    ``causalkit`` appended.
    """
    named = os.environ.get("CAUSALKIT_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "causalkit"


def _shipped_folders() -> list[Path]:
    # The wheel holds the files inside the package; a checkout has them at its top level.
    return [_PACKAGE / "data", _PACKAGE.parents[1] / "datasets"]


def _check_filename(filename: str) -> None:
    # A name with a folder in it could reach outside the folders that are searched.
    if not filename or filename in (".", "..") or "/" in filename or "\\" in filename or ":" in filename:
        raise ValueError(f"filename must be a plain file name without folders; got {filename!r}.")


def find_shipped(filename: str) -> Path:
    """Find a file that ships with the library.

    Parameters
    ----------
    filename : str
        Plain name of the file.

    Returns
    -------
    Path
        First hit in: the folder named by ``CAUSALKIT_DATA``, the data folder of the installed
        package, the ``datasets`` folder of a checkout.

    Raises
    ------
    ValueError
        If ``filename`` names a folder.
    DataNotFoundError
        If no folder has it; the message lists the folders.
    """
    _check_filename(filename)
    override = data_override()
    folders = ([override] if override else []) + _shipped_folders()
    for folder in folders:
        if (folder / filename).is_file():
            return folder / filename
    looked = "".join(f"\n  - {folder}" for folder in folders)
    raise DataNotFoundError(
        f"{filename} was not found. Looked in:{looked}\n"
        "Reinstall the package, or put the file into a folder and name that folder in CAUSALKIT_DATA."
    )


def _checkout_neighbour() -> Path | None:
    """Return ``shared/data`` beside a checkout of the sources; an installed package has none."""
    root = _PACKAGE.parents[1]
    return root.parent / "shared" / "data" if (root / "pyproject.toml").is_file() else None


def find_provided(filename: str, *, sha256: str, origin: str, data_home: str | os.PathLike[str] | None = None) -> Path:
    """Find a file that its licence keeps out of the library and that the user provides; never downloads.

    Parameters
    ----------
    filename : str
        Plain name of the file.
    sha256 : str
        Expected SHA-256 of the file.
    origin : str
        Sentence for the message that says where the data come from.
    data_home : str or path, optional
        Folder to look into first.

    Returns
    -------
    Path
        First hit in: ``data_home``, the folder named by ``CAUSALKIT_DATA``, ``shared/data`` beside a checkout.

    Raises
    ------
    ValueError
        If ``filename`` names a folder.
    DatasetNotFoundError
        If no folder has it, or the first that has it holds a file with another checksum.
    """
    _check_filename(filename)
    named = None if data_home is None else Path(data_home).expanduser()
    places = [("data_home", named), ("CAUSALKIT_DATA", data_override()), ("beside the checkout", _checkout_neighbour())]
    for _, folder in places:
        if folder is None or not (folder / filename).is_file():
            continue
        got = _sha256(folder / filename)
        if got == sha256:
            return folder / filename
        raise DatasetNotFoundError(
            f"{folder / filename} has the wrong checksum: expected sha256 {sha256}, got {got}. It is another version "
            f"of the data, or damaged. {origin} Replace the file, or read your own version with pandas."
        )
    looked = "".join(f"\n  - {folder or 'not given'} ({place})" for place, folder in places)
    raise DatasetNotFoundError(
        f"{filename} was not found. Looked in:{looked}\n"
        f"It does not ship with the library, because of its licence, and nothing is downloaded. {origin} Save it as "
        f"{filename} in a folder, and pass data_home=folder or name the folder in CAUSALKIT_DATA."
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _mismatch(what: str, expected: str, got: str, advice: str) -> DataNotFoundError:
    return DataNotFoundError(f"{what} has the wrong checksum: expected sha256 {expected}, got {got}. {advice}")


def _download(url: str, sha256: str, target: Path, timeout: float) -> None:
    """Download into a temporary neighbour of ``target`` and move it there once its checksum holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # The temporary file lies in the same folder, so that the move is atomic: another process sees
    # the whole file or none.
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=timeout) as response:
            got = _copy(response, file)
        if got != sha256:
            raise _mismatch(
                f"The download {url}",
                sha256,
                got,
                "It was not kept. The file at the origin may have changed, or the transfer was cut short: try again.",
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def fetch(url: str, *, sha256: str, filename: str, timeout: float = 30.0) -> Path:
    """Return the path of a data file, downloading it on first use.

    Looked for in this order: ``filename`` in the folder named by ``CAUSALKIT_DATA``, then in
    :func:`cache_directory`, then at ``url``. The checksum is compared in all three places.

    Parameters
    ----------
    url : str
        Origin; ``https``, ``http`` or ``file``.
    sha256 : str
        Expected SHA-256 of the file, 64 hexadecimal digits.
    filename : str
        Plain name under which the file is kept.
    timeout : float, default=30.0
        Seconds without an answer after which the download is given up.

    Returns
    -------
    Path
        The file, complete and with the right checksum.

    Raises
    ------
    ValueError
        If an argument is malformed.
    DataNotFoundError
        If the origin cannot be reached, or the checksum differs. A download with a wrong checksum
        is not kept; a file of the user's own is left as it is.

    Examples
    --------
    >>> import hashlib, os, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> origin = folder / "origin.csv"
    >>> _ = origin.write_bytes(b"a,b")
    >>> os.environ["CAUSALKIT_CACHE"] = str(folder / "cache")
    >>> path = fetch(origin.as_uri(), sha256=hashlib.sha256(b"a,b").hexdigest(), filename="kept.csv")
    >>> path.read_bytes()
    b'a,b'
    >>> del os.environ["CAUSALKIT_CACHE"]
    """
    _check_filename(filename)
    expected = sha256.lower()
    if len(expected) != 64 or set(expected) - set("0123456789abcdef"):
        raise ValueError(f"sha256 must be 64 hexadecimal digits; got {sha256!r}.")
    if urlsplit(url).scheme not in ("https", "http", "file"):
        raise ValueError(f"url must start with https, http or file; got {url!r}.")
    override = data_override()
    if override is not None and (override / filename).is_file():
        got = _sha256(override / filename)
        if got != expected:
            advice = "Replace it, or unset CAUSALKIT_DATA to download the file."
            raise _mismatch(f"{override / filename}", expected, got, advice)
        return override / filename
    cached = cache_directory() / filename
    # A damaged cache entry is replaced by the download below.
    if cached.is_file() and _sha256(cached) == expected:
        return cached
    try:
        _download(url, expected, cached, timeout)
    except DataNotFoundError:
        cached.unlink(missing_ok=True)
        raise
    except (OSError, HTTPException, urllib.error.URLError) as error:
        first = f"\n  - {override} (CAUSALKIT_DATA)" if override else "\n  - CAUSALKIT_DATA is not set"
        raise DataNotFoundError(
            f"{filename} was not found and could not be downloaded ({type(error).__name__}: {error}). Looked in:"
            f"{first}\n  - {cached.parent} (cache)\n  - {url}\n"
            f"Connect and try again, or get the file by other means, save it as {filename} in a folder and name "
            "that folder in CAUSALKIT_DATA."
        ) from error
    return cached
