"""How many threads a fit uses: one of BLAS, for results that do not depend on the machine, and one for few rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

from threadpoolctl import ThreadpoolController, threadpool_limits

__all__ = ["SingleThreadedBlas", "boosting_threads"]

_FEW_ROWS = 20_000


@contextmanager
def boosting_threads(model: Any, n_rows: int) -> Iterator[None]:
    """Context in which histogram boosted trees on few rows have one thread; other models are left alone.

    Such trees start OpenMP threads anew at every split. With few rows there is nothing to divide, and threads that wait
    for one another in loops take the processors from everybody: seven times the time of a fit beside other work. The
    limit is one of the calling thread alone, and trees do not depend on it.
    """
    if n_rows >= _FEW_ROWS or not type(model).__module__.startswith("sklearn.ensemble._hist_gradient_boosting"):
        yield
        return
    with _openmp().limit(limits=1, user_api="openmp"):
        yield


@cache
def _openmp() -> ThreadpoolController:
    """Libraries of the process, found when the first model has loaded its own; a search takes milliseconds."""
    return ThreadpoolController()


class SingleThreadedBlas:
    """Context in which BLAS runs on one thread, safe to enter from several threads at once.

    Sums are split differently over 1 and over 8 BLAS threads and then differ in the last bits. joblib
    gives its workers fewer threads than the main process has, so that the same fit would depend on
    the backend. Counting entries keeps concurrent tasks in threads from restoring the limit too early
    (test_predictions_do_not_depend_on_the_backend). Many small products are faster this way, too.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _entered: ClassVar[int] = 0
    _limit: ClassVar[Any] = None

    def __enter__(self) -> None:
        cls = SingleThreadedBlas
        with cls._lock:
            if cls._entered == 0:
                cls._limit = threadpool_limits(limits=1, user_api="blas")
            cls._entered += 1

    def __exit__(self, *_: object) -> None:
        cls = SingleThreadedBlas
        with cls._lock:
            cls._entered -= 1
            if cls._entered == 0:
                cls._limit.restore_original_limits()
                cls._limit = None
