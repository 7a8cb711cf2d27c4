"""Where a network trains: torch on request, the device by name, one thread on the CPU."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from causalkit.exceptions import DeviceUnavailableError, MissingDependencyError

__all__ = ["import_torch", "resolve_device", "single_threaded"]

_LOCK = threading.Lock()
_THREADS = {"entered": 0, "original": 1}


def import_torch() -> Any:
    """Return the torch module, imported on first use.

    Raises
    ------
    MissingDependencyError
        If torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "neural estimators need torch, which is not installed: pip install -e '.[torch]'."
        ) from error
    return torch


def resolve_device(device: Any = "auto") -> Any:
    """Turn a device name into a ``torch.device``.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N"} or torch.device, default="auto"
        "auto" is the GPU when torch sees one, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    DeviceUnavailableError
        A CUDA device that torch does not see.
    ValueError
        Another name.
    MissingDependencyError
        If torch is not installed.

    Examples
    --------
    >>> from causalkit.nn import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    torch = import_torch()
    name = str(device)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r}.")
    resolved = torch.device(name)
    if resolved.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= found:
            raise DeviceUnavailableError(
                f"device={device!r} is not available: torch {torch.__version__} sees {found} CUDA devices here. "
                "Use device='auto' or 'cpu', or install a CUDA build of torch."
            )
    return resolved


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch's CPU kernels on one thread.

    Sums are split differently over 1 and over 8 threads, and joblib gives its workers fewer threads than
    the main process has: without this a fit would depend on the backend in its last bits. Batches of a
    few hundred rows through small layers are faster on one thread, too. torch keeps the number per
    thread, so each entering thread sets its own; the value to go back to is the one found by the first.
    """
    torch = import_torch()
    with _LOCK:
        if _THREADS["entered"] == 0:
            _THREADS["original"] = torch.get_num_threads()
        _THREADS["entered"] += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _LOCK:
            _THREADS["entered"] -= 1
            torch.set_num_threads(_THREADS["original"])
