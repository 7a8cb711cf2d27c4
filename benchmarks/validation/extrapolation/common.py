"""What several sections need: draws, fits, curve errors, rulers of a representation, and how medians are judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.measuring import installed, quiet
from benchmarks.rows import Row, at_least, at_most
from benchmarks.simulation import Tier, listed_share

__all__ = [
    "DIRECTIONS",
    "MIXINGS",
    "POINTS",
    "RADII",
    "curve_errors",
    "default_fit",
    "draws",
    "leaves_out",
    "linear_r2",
    "listed_level",
    "median_row",
    "network_curve",
    "oracle_fit",
    "ring",
    "seeds_note",
]

Array = NDArray[np.float64]
Draws = dict[str, Array]

MIXINGS = {"warp": "WARP", "leaky": "LRELU"}
# Sizes of a scalar action, taken with both signs; radii of two actions, each in eight directions.
POINTS = {"in": (0.5, 1.0), "near": (1.25, 1.5), "far": (2.0, 2.5)}
RADII = {"in": 0.7, "near": 1.5, "far": 2.25}
DIRECTIONS = 8
_MEDIAN = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, normal draws
_WIDTH = 3.0


def _one(call: Callable[..., Mapping[str, float]], r: int, settings: Mapping[str, Any]) -> dict[str, float]:
    from threadpoolctl import threadpool_limits

    with quiet(), threadpool_limits(1):
        if installed("torch"):
            import torch

            torch.set_num_threads(1)
        return dict(call(r, **settings))


def draws(tier: Tier, call: Callable[..., Mapping[str, float]], numbers: Iterable[int], **settings: Any) -> Draws:
    """Run ``call(r, **settings)`` for every r, one draw per task, whatever the number of processes.

    Returns
    -------
    dict of str to ndarray, shape (number of draws,)
        What each draw returned, by name.
    """
    records = Parallel(n_jobs=tier.n_jobs)(delayed(_one)(call, r, settings) for r in numbers)
    return {name: np.array([record[name] for record in records], dtype=float) for name in records[0]}


# ---------------------------------------------------------------------- fits


def default_fit(sample: Any, seed: int, **options: Any) -> Any:
    """``Rep4Ex`` with its defaults, a seed aside."""
    from causalkit.extrapolation import Rep4Ex

    return Rep4Ex(random_state=seed, **options).fit(sample.actions, sample.y, features=sample.features)


def oracle_fit(sample: Any, seed: int) -> Any:
    """``Rep4Ex`` that is told the hidden variables."""
    from sklearn.preprocessing import FunctionTransformer

    from causalkit.extrapolation import Rep4Ex

    model = Rep4Ex(encoder=FunctionTransformer(), random_state=seed)
    return model.fit(sample.actions, sample.y, features=sample.latent)


def network_curve(sample: Any, seed: int) -> Callable[[Array], Array]:
    """Curve of the library's network of y on the actions, which sees no features."""
    from causalkit.extrapolation.baselines import make_baseline

    predict: Callable[[Array], Array] = (
        make_baseline("network", sample.actions.shape[1], seed).fit(sample.actions, sample.y).predict
    )
    return predict


# ---------------------------------------------------------------------- rulers


def ring(radius: float) -> Array:
    """Two actions of one length in eight equally spaced directions, shape (8, 2)."""
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def curve_errors(predict: Callable[[Array], Any], sample: Any) -> dict[str, float]:
    """Root mean squared errors of a curve within, near and far from the support, against the true mean outcome."""
    found = {}
    for name in POINTS:
        if sample.actions.shape[1] == 1:
            wanted = np.array([sign * a for a in POINTS[name] for sign in (1.0, -1.0)])[:, None]
        else:
            wanted = ring(RADII[name])
        found[name] = float(np.sqrt(np.mean((np.asarray(predict(wanted)) - sample.do_mean(wanted)) ** 2)))
    return found


def linear_r2(phi: Array, latent: Array) -> float:
    """R² of the hidden variables by least squares on φ, fitted on one half of the rows and scored on the other."""
    half = len(latent) // 2
    design = np.column_stack([np.ones(len(phi)), phi])
    coef = np.linalg.lstsq(design[:half], latent[:half], rcond=None)[0]
    error = ((latent[half:] - design[half:] @ coef) ** 2).mean(axis=0)
    return float(np.mean(1 - error / latent[half:].var(axis=0)))


# ---------------------------------------------------------------------- rows


def seeds_note(values: Array, note: str = "") -> str:
    """Values of the draws one by one."""
    listed = " ".join(f"{value:.3g}" for value in values)
    return f"{len(values)} draws: {listed}" + (f"; {note}" if note else "")


def median_row(
    tier: Tier, id: str, what: str, values: Array, bar: float, *, least: bool = False, note: str = ""
) -> Row:
    """Median over draws beside its bar; the short tier adds three standard errors of the median of its draws."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    band = tier.band(_MEDIAN * spread / math.sqrt(len(values)))
    judge = at_least if least else at_most
    return judge(id, what, float(np.median(values)), bar, band, seeds_note(values, note))


def leaves_out(tier: Tier, full: str, short: str) -> str:
    """Words for a row that the short tier runs with less."""
    return full if tier.full else f"{short} in the short tier, {full} in the full one"


def listed_level(id: str, what: str, rejected: Array, listed: float, n_listed: int) -> Row:
    """A rejection rate against that of another run of the same design."""
    return listed_share(id, what, rejected, listed, n_listed)
