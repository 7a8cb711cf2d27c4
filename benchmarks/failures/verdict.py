"""What a call came to: a finite answer, a named error, or something that a user should never see."""

from __future__ import annotations

import dis
import re
import signal
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sklearn

import causalkit

__all__ = ["Outcome", "answer_problem", "deadline", "judge"]

_LIBRARY = str(Path(causalkit.__file__).parent)
_SKLEARN = Path(sklearn.__file__).parent
# scikit-learn's checks of arguments; errors from its models are not: they name nothing that the user passed.
_CHECKS = tuple(str(_SKLEARN / part) for part in ("utils", "base.py", "model_selection/_split.py"))
_NAMED_BY_SCIKIT_LEARN = re.compile(r"Found |feature|Expected|Input|sample|sparse|[Uu]nknown label|y |complex", re.I)


class _DeadlineError(BaseException):
    """The call took too long; no ``except Exception`` of the code under test can hide it."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to.

    Attributes
    ----------
    kind : {"answer", "refused", "bad"}
        A value was returned; a named error was raised; anything else.
    value : object
        What was returned.
    detail : str
        The error, or what is wrong.
    """

    kind: Literal["answer", "refused", "bad"]
    value: Any = None
    detail: str = ""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Stop the block after so many seconds; main thread only."""

    def stop(signal_number: int, frame: types.FrameType | None) -> None:
        raise _DeadlineError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(call: Callable[[], Any], names: tuple[str, ...], seconds: float = 20.0) -> Outcome:
    """Run a call and say what it came to.

    Parameters
    ----------
    call : callable
    names : tuple of str
        Arguments, one of which the message of an error must name.
    seconds : float, default=20.0
        A call that takes longer is taken to hang.
    """
    try:
        with warnings.catch_warnings(), deadline(seconds):
            warnings.simplefilter("ignore")
            return Outcome("answer", call())
    except _DeadlineError:
        return Outcome("bad", detail=f"no answer within {seconds:g} s")
    except Exception as error:  # whatever it is, the verdict is about it
        problem = _error_problem(error, names)
        text = f"{type(error).__name__}: {str(error)[:160]}"
        return Outcome("bad", detail=f"{problem}: {text}") if problem else Outcome("refused", detail=text)


def _error_problem(error: Exception, names: tuple[str, ...]) -> str:
    """What is wrong with an error, or nothing."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "no traceback"
    filename = trace.tb_frame.f_code.co_filename
    place = f"{Path(filename).name}:{trace.tb_lineno}"
    if not isinstance(error, ValueError | TypeError) or isinstance(error, np.linalg.LinAlgError | UnicodeError):
        return f"foreign class at {place}"
    named = re.search(rf"(?<!\w)({'|'.join(map(re.escape, names))})", str(error))
    if filename.startswith(_CHECKS):
        return "" if named or _NAMED_BY_SCIKIT_LEARN.search(str(error)) else f"names no argument at {place}"
    # An error raised by compiled code, or by a call of numpy, ends in a line of the library that raises nothing.
    if not filename.startswith(_LIBRARY) or not _raises(trace):
        return f"foreign traceback at {place}"
    return "" if named else f"names no argument at {place}"


def _raises(trace: types.TracebackType) -> bool:
    """Whether the frame was left by a ``raise`` of its own, and not by a call of something compiled."""
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def answer_problem(value: Any, rows: int | None) -> str:
    """What is wrong with a returned array, or nothing: its rows, or numbers that are not finite."""
    table = value.to_numpy() if hasattr(value, "to_numpy") else value.toarray() if hasattr(value, "toarray") else value
    array = np.asarray(table)
    if rows is not None and array.shape[:1] != (rows,):
        return f"shape {array.shape} for {rows} rows"
    if array.dtype.kind not in "biufc":
        return ""
    bad = ~np.isfinite(array)
    return f"{int(bad.sum())} of {array.size} numbers are not finite" if bad.any() else ""
