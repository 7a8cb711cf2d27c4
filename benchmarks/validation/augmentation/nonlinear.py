"""Section I: a known non-linear effect, with boosted trees, a kernel approximation and a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most, near, recorded, skipped, within
from benchmarks.simulation import Tier
from causalkit.augmentation import IVLikeBoostingRegressor, IVLikeRegressor
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_nonlinear_augmentation

__all__ = ["rows"]

Array = NDArray[np.float64]

_ALPHAS = (np.inf, 1.0, 0.1, 0.01)
# ERM, α = ∞, 1, .1, .01: what prototypes reached.
_PROTOTYPES = {
    "boosting": (0.92, 0.29, 0.15, 0.05, 0.04),
    "Nyström": (0.89, 0.25, 0.13, 0.03, 0.03),
    "net 64-64": (0.91, 0.26, 0.13, 0.03, 0.03),
}


def _boosting(alpha: float | None, data: Any) -> Any:
    options: dict[str, Any] = {"max_iter": 100, "max_leaf_nodes": 15}
    if alpha is None:
        return IVLikeBoostingRegressor(**options).fit(data.X, data.y)
    return IVLikeBoostingRegressor(alpha=alpha, **options).fit(data.X, data.y, augmented=data.augmented)


def _nystroem(alpha: float | None, data: Any) -> Any:
    from sklearn.kernel_approximation import Nystroem

    features = Nystroem(gamma=0.2, n_components=300, random_state=0)
    model = IVLikeRegressor(alpha=0.1 if alpha is None else alpha, feature_map=features, ridge=1e-4)
    return model.fit(data.X, data.y) if alpha is None else model.fit(data.X, data.y, augmented=data.augmented)


def _net(alpha: float | None, data: Any) -> Any:
    from causalkit.augmentation.net import IVLikeNetRegressor

    options: dict[str, Any] = {"hidden_layer_sizes": (64, 64), "random_state": 0, "device": "cpu"}
    if alpha is not None:  # fresh draws in every epoch
        options |= {"alpha": alpha, "augmentation": NullSpaceShift(data.basis)}
    return IVLikeNetRegressor(**options).fit(data.X, data.y)


_MAKERS = {"boosting": _boosting, "Nyström": _nystroem, "net 64-64": _net}


def _error(model: Any, data: Any) -> float:
    """Variance of h - f over that of f, on rows that are not augmented."""
    return float(np.var(model.predict(data.X_test) - data.effect_test) / np.var(data.effect_test))


def _errors(name: str, data: Any) -> list[float]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), quiet():
        if name.startswith("net"):
            import torch

            torch.set_num_threads(1)
        return [_error(_MAKERS[name](alpha, data), data) for alpha in (None, *_ALPHAS)]


def rows(tier: Tier) -> Iterator[Row]:
    """I1 boosting, I2 kernel approximation, I3 network: bars, and the values beside those of prototypes."""
    from importlib.util import find_spec

    from joblib import Parallel, delayed

    data = make_nonlinear_augmentation(random_state=np.random.default_rng(0))
    names = [name for name in _MAKERS if not name.startswith("net") or find_spec("torch") is not None]
    measured = dict(zip(names, Parallel(n_jobs=tier.n_jobs)(delayed(_errors)(n, data) for n in names), strict=True))
    for number, name in enumerate(_MAKERS):
        label = f"I{number + 1}"
        if name not in measured:
            yield skipped(label, name, "torch is not installed: pip install -e '.[torch]'")
            continue
        yield from _rows_of(label, name, measured[name])


def _rows_of(label: str, name: str, errors: list[float]) -> Iterator[Row]:
    erm, augmented, one, tenth, hundredth = errors
    notes = [f"prototype {value:g}" for value in _PROTOTYPES[name]]
    yield within(f"{label}.1", f"{name}, ERM: error", erm, 0.85, 0.95, note=notes[0])
    yield within(f"{label}.2", f"{name}, α = ∞: error", augmented, 0.22, 0.32, note=notes[1])
    yield recorded(f"{label}.3", f"{name}, α = 1: error", one, notes[2])
    yield at_most(f"{label}.4", f"{name}, α = .1: error", tenth, 0.06, note=notes[3])
    yield recorded(f"{label}.5", f"{name}, α = .01: error", hundredth, notes[4])
    falling = float(augmented > one > tenth)
    yield near(f"{label}.6", f"{name}: error falls from α = ∞ over 1 to .1", falling, 1.0, 0.0)
