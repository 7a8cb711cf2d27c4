"""Real local clusters for tests: within each, joblib runs tasks on two worker processes of Dask or of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import pytest

__all__ = ["dask_workers", "ray_workers"]


@contextmanager
def dask_workers() -> Iterator[None]:
    """Two processes of a Dask cluster; skips where distributed is not installed."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@contextmanager
def ray_workers() -> Iterator[None]:
    """Two processes of Ray; skips where it is not installed."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(num_cpus=2, object_store_memory=150_000_000, **quiet)
    try:
        with joblib.parallel_config("ray"):
            yield
    finally:
        ray.shutdown()
