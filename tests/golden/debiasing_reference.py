"""Plain reference implementations of the corrections, written from their formulas alone.

They share nothing with the package: natural splines come from truncated powers, coefficients from
least squares or the normal equations on these columns, every derivative from finite differences. A
correction is returned as its values at chosen points, so that the basis behind it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def closed_form_sample() -> tuple[Array, Array, Array, Array]:
    """Calibration (predictions, y) of 1000 rows and trial (predictions, treatment) of 2000 rows."""
    rng = np.random.default_rng(20250801)
    y = rng.normal(size=1000)
    predictions = 0.5 * y + 0.5 * rng.normal(size=1000)
    treatment = np.repeat([0.0, 1.0], 1000)
    truth = 0.5 * treatment + rng.normal(size=2000)
    return predictions, y, 0.5 * truth + 0.5 * rng.normal(size=2000), treatment


def natural_columns(x: Array, knots: Array) -> Array:
    """Natural cubic splines by truncated powers (Hastie, Tibshirani & Friedman 2009, eq. 5.4 and 5.5)."""
    columns = [np.ones_like(x), x]
    last, previous = knots[-1], knots[-2]

    def ramp(knot: float) -> Array:
        return (np.maximum(x - knot, 0) ** 3 - np.maximum(x - last, 0) ** 3) / (last - knot)

    return np.column_stack([*columns, *[ramp(knot) - ramp(previous) for knot in knots[:-2]]])


def natural_slopes(x: Array, knots: Array) -> Array:
    """First derivatives of :func:`natural_columns`."""
    columns = [np.zeros_like(x), np.ones_like(x)]
    last, previous = knots[-1], knots[-2]

    def ramp(knot: float) -> Array:
        return 3 * (np.maximum(x - knot, 0) ** 2 - np.maximum(x - last, 0) ** 2) / (last - knot)

    return np.column_stack([*columns, *[ramp(knot) - ramp(previous) for knot in knots[:-2]]])


def quantile_knots(x: Array, n_knots: int) -> Array:
    """Quantiles at equally spaced levels from .02 to .98."""
    return np.quantile(x, np.linspace(0.02, 0.98, n_knots))


def line(x: Array, y: Array, w: Array) -> tuple[float, float]:
    """Intercept and slope of the weighted regression of y on x, by the normal equations."""
    X = np.column_stack([np.ones_like(x), x])
    a, b = np.linalg.solve(X.T @ (w[:, None] * X), X.T @ (w * y))
    return float(a), float(b)


def linear(points: Array, f: Array, y: Array, w: Array) -> Array:
    """(ŷ - m)/k with Ŷ = m + kY."""
    m, k = line(y, f, w)
    return (points - m) / k


def tweedie(
    points: Array,
    f: Array,
    y: Array,
    w: Array,
    *,
    knots: Array,
    recalibrate: bool = True,
    heteroscedastic: bool = False,
    unlabelled: Array | None = None,
    unlabelled_weight: Array | None = None,
) -> Array:
    """a + bŷ - (σ²/b)s(ŷ), or a + bŷ - q(ŷ)/b with q = (σ²p)'/p, on fixed knots."""
    a, b = line(f, y, w) if recalibrate else (0.0, 1.0)
    e = y - a - b * f
    centred = e if recalibrate else e - np.average(e, weights=w)
    variance = np.average(centred**2, weights=w)
    x, mass = f, w
    if unlabelled is not None:
        x = np.concatenate([f, unlabelled])
        mass = np.concatenate([w, np.ones_like(unlabelled) if unlabelled_weight is None else unlabelled_weight])
    # A common scale keeps the truncated powers well conditioned; the span is the same.
    centre, scale = 0.5 * (knots[0] + knots[-1]), 0.5 * (knots[-1] - knots[0])
    inner = (knots - centre) / scale
    B, D = natural_columns((x - centre) / scale, inner), natural_slopes((x - centre) / scale, inner) / scale
    gram = B.T @ (mass[:, None] * B)
    right = D.T @ (w * centred**2) if heteroscedastic else variance * (D.T @ mass)
    q = natural_columns((points - centre) / scale, inner) @ -np.linalg.solve(gram, right)
    return a + b * points - q / b


def spline(points: Array, f: Array, y: Array, w: Array, *, knots: Array, instrument_knots: Array) -> Array:
    """B(ŷ)'β with β from two-stage least squares, splines of y as instruments, on fixed knots."""
    B, Z, P = (
        natural_columns((v - v0.mean()) / v0.std(), (k - v0.mean()) / v0.std())
        for v, v0, k in ((f, f, knots), (y, y, instrument_knots), (points, f, knots))
    )
    root = np.sqrt(w)[:, None]
    fitted = root * Z @ np.linalg.lstsq(root * Z, root * B, rcond=None)[0]
    # The fitted columns are a projection, so regressing on them solves B'P_ZB b = B'P_Zy.
    return np.asarray(P @ np.linalg.lstsq(fitted, root[:, 0] * y, rcond=None)[0])


def kernel_scores(points: Array, f: Array, w: Array, bandwidth: float) -> Array:
    """(log p̂)' of a Gaussian kernel density, summed directly over all pairs."""
    step = (points[:, None] - f) / bandwidth
    kernel = np.exp(-0.5 * step**2) * w
    return np.asarray(-(kernel * step).sum(axis=1) / kernel.sum(axis=1) / bandwidth)


def kernel_tweedie(
    points: Array, f: Array, y: Array, w: Array, *, bandwidth: float, rescale: bool, recalibrate: bool
) -> Array:
    """Tweedie's correction with a kernel score, rescaled by -1/mean[(x - x̄)ŝ_loo] on request."""
    a, b = line(f, y, w) if recalibrate else (0.0, 1.0)
    e = y - a - b * f
    e = e if recalibrate else e - np.average(e, weights=w)
    variance = np.average(e**2, weights=w)
    constant = 1.0
    if rescale:
        share = w / w.sum()
        step = (f[:, None] - f) / bandwidth
        kernel = np.exp(-0.5 * step**2) * w
        without = kernel.sum(axis=1) - w
        scores = -(kernel * step).sum(axis=1) / without / bandwidth
        constant = -1.0 / float(share @ ((f - share @ f) * scores))
    return a + b * points - constant * variance / b * kernel_scores(points, f, w, bandwidth)


def weight_derivatives(estimate: Callable[[Array], Array], w: Array, rows: Array, step: float = 1e-4) -> Array:
    """d estimate/d w_j for these rows by central differences, shape (len(rows), ...)."""
    out = []
    for j in rows:
        up, down = w.copy(), w.copy()
        up[j] += step
        down[j] -= step
        out.append((estimate(up) - estimate(down)) / (2 * step))
    return np.array(out)
