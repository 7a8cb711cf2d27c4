"""One BLAS thread: for results that do not depend on the machine, and for many small products."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from threadpoolctl import threadpool_limits

__all__ = ["SingleThreadedBlas"]


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
