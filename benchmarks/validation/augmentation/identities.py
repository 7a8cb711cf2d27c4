"""Section B: identities between penalties, routes and ways of cutting the rows; largest errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap, quiet
from benchmarks.rows import Row, at_most, near
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation.common import relative_gap
from benchmarks.validation.augmentation.identities_peers import peer_rows
from causalkit.augmentation import IVLikeRegressor, augmenters, worst_case_risk
from causalkit.datasets import make_linear_augmentation

__all__ = ["rows"]

Array = NDArray[np.float64]

_GRID = np.logspace(-5, 5, 21)


def _fit(sample: Any, penalty: str, *, kept: slice | Array = slice(None), **options: Any) -> IVLikeRegressor:
    """Fit to the draw that comes with the sample, or to some of its rows."""
    model = IVLikeRegressor(penalty=penalty, **options)
    given = {"augmented": sample.augmented[kept], "augmentation_parameters": sample.augmentation_parameters[kept]}
    return model.fit(sample.X[kept], sample.y[kept], **given)


def rows(tier: Tier) -> Iterator[Row]:
    """B1 relatives, B2 path, B3 rows, B4 limits, B5 influence, B6 kernels, B7 real instruments, B8 order and bounds."""
    with quiet():
        sample = make_linear_augmentation(400, 5, random_state=np.random.default_rng(15_000))
        yield from peer_rows("B1", "B7")
        yield from _path_rows(sample)
        yield from _stream_rows(sample)
        yield from _limit_rows(sample)
        yield from _influence_rows(sample)
        yield from _kernel_rows()
        yield from _order_rows(sample)


# ---------------------------------------------------------------------- path


def _direct(penalty: str, sample: Any, alpha: float) -> tuple[Array, Array]:
    """(αA + B)⁻¹(αa + b) from centred arrays, and the matrix whose trace is the degrees of freedom."""
    GX, X = (table - table.mean(axis=0) for table in (sample.augmented, sample.X))
    y, g = sample.y - sample.y.mean(), sample.augmentation_parameters - sample.augmentation_parameters.mean(axis=0)
    raw = sample.augmented - sample.X
    d, n = raw - raw.mean(axis=0), len(y)
    x = X if penalty == "analytic" else GX
    A, a, b = x.T @ x / n, x.T @ y / n, np.zeros(x.shape[1])
    P = g @ np.linalg.solve(g.T @ g, g.T)
    if penalty == "projected":
        B, b = x.T @ P @ x / n, x.T @ P @ y / n
    elif penalty == "paired":
        B = d.T @ P @ d / n
    elif penalty == "pointwise":
        B = raw.T @ raw / n
    else:
        return np.linalg.solve(A + (1 + 1 / alpha) * sample.basis.T @ sample.basis, a), A
    return np.linalg.solve(alpha * A + B, alpha * a + b), np.linalg.solve(alpha * A + B, alpha * A)


def _path_rows(sample: Any) -> Iterator[Row]:
    """B2: one factorisation against a solve for each alpha."""
    shift = augmenters.NullSpaceShift(sample.basis)
    for number, penalty in enumerate(("projected", "paired", "pointwise", "analytic")):
        if penalty == "analytic":
            model = IVLikeRegressor(penalty=penalty, augmentation=shift).fit(sample.X, sample.y)
        else:
            model = _fit(sample, penalty)
        coef = model.path(_GRID).coef
        worst = max(relative_gap(h, _direct(penalty, sample, a)[0]) for a, h in zip(_GRID, coef, strict=True))
        yield at_most(f"B2.{number + 1}", f"{penalty}: path against direct solves, α in [1e-5, 1e5]", worst, 1e-9)
    for number, penalty in enumerate(("projected", "paired", "pointwise")):
        model = _fit(sample, penalty)
        error = relative_gap(model.path([1e8]).coef, model.path([np.inf]).coef)
        yield at_most(f"B2.{number + 5}", f"{penalty}: α = 1e8 against DA+ERM", error, 1e-6)
    freedom = _fit(sample, "pointwise").path(_GRID).degrees_of_freedom
    traces = [float(np.trace(_direct("pointwise", sample, a)[1])) for a in _GRID]
    yield at_most(
        "B2.8", "pointwise: degrees of freedom against the trace of the hat matrix", gap(freedom, traces), 1e-9
    )


# ---------------------------------------------------------------------- rows and draws


def _stream_rows(sample: Any) -> Iterator[Row]:
    """B3: chunks, merges, permutations of rows, rotations of the null basis, shifts by constants."""
    n = 10_000
    big = make_linear_augmentation(n, 5, random_state=np.random.default_rng(15_001))
    options: dict[str, Any] = {"augmentation": augmenters.NullSpaceShift(big.basis), "random_state": 3}
    for number, penalty in enumerate(("projected", "paired", "pointwise", "analytic")):
        batch = IVLikeRegressor(penalty=penalty, **options).fit(big.X, big.y)
        stream = IVLikeRegressor(penalty=penalty, **options)
        for part in np.array_split(np.arange(n), (17, 4096, 5000, 9999)):
            stream.partial_fit(big.X[part], big.y[part])
        pieces = []
        for start in (7000, 0, 3000):
            part = slice(start, {0: 3000, 3000: 7000, 7000: n}[start])
            piece = IVLikeRegressor(penalty=penalty, **options)
            pieces.append(piece.partial_fit(big.X[part], big.y[part], first_row=start))
        merged = pieces[0].merge(pieces[1]).merge(pieces[2])
        other = pieces[2].merge(pieces[1].merge(pieces[0]))
        worst = max(relative_gap(model.coef_, batch.coef_) for model in (stream, merged, other))
        yield at_most(f"B3.{number + 1}", f"{penalty}: five chunks and two merge orders against one fit", worst, 1e-10)
    rng = np.random.default_rng(15_002)
    order = rng.permutation(len(sample.y))
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    for number, penalty in enumerate(("projected", "paired", "pointwise")):
        plain = _fit(sample, penalty)
        error = relative_gap(_fit(sample, penalty, kept=order).coef_, plain.coef_)
        yield at_most(f"B3.{number + 5}a", f"{penalty}: rows permuted", error, 1e-10)
        if penalty != "pointwise":  # which takes no parameters
            given = {"augmented": sample.augmented, "augmentation_parameters": sample.augmentation_parameters @ turn.T}
            turned = IVLikeRegressor(penalty=penalty).fit(sample.X, sample.y, **given)
            error = relative_gap(turned.coef_, plain.coef_)
            yield at_most(f"B3.{number + 5}b", f"{penalty}: null basis and G rotated", error, 1e-10)
        given = {"augmented": sample.augmented + 3.0, "augmentation_parameters": sample.augmentation_parameters - 2.0}
        moved = IVLikeRegressor(penalty=penalty).fit(sample.X + 3.0, sample.y + 5.0, **given)
        error = relative_gap(moved.coef_, plain.coef_)
        yield at_most(f"B3.{number + 5}c", f"{penalty}: X, GX, y and G shifted by constants", error, 1e-10)


# ---------------------------------------------------------------------- limits


def _limit_rows(sample: Any) -> Iterator[Row]:
    """B4: the constrained fit, orbits, pairs that are linear in G, known covariances."""
    X, y, shift = sample.X, sample.y, augmenters.NullSpaceShift(sample.basis)
    V5 = IVLikeRegressor(penalty="constrained", augmentation=shift).fit(X, y).coef_
    zero = _fit(sample, "pointwise", alpha=0.0).coef_
    analytic = IVLikeRegressor(alpha=0.0, penalty="analytic", augmentation=shift).fit(X, y).coef_
    yield at_most("B4.1", "pointwise at α = 0 against the constrained fit", relative_gap(zero, V5), 1e-10)
    yield at_most("B4.2", "analytic at α = 0 against the constrained fit", relative_gap(analytic, V5), 1e-10)
    centred, f = X - X.mean(axis=0), sample.coef / np.linalg.norm(sample.coef)
    by_hand = f * float((centred @ f) @ y / ((centred @ f) @ (centred @ f)))
    yield at_most("B4.3", "the constrained fit against a regression on f'x", relative_gap(V5, by_hand), 1e-10)
    swap = augmenters.Permutation([[0, 1], [2, 3, 4]])
    orbit = IVLikeRegressor(alpha=np.inf, augmentation=swap, n_draws="orbit").fit(X, y).coef_
    basis = np.array([[1.0, 1, 0, 0, 0], [0, 0, 1, 1, 1]]).T
    # Orbits average X over its permutations too, which leaves the sums and shrinks nothing along them.
    sums = np.column_stack([np.ones(len(y)), X @ basis])
    invariant = basis @ np.linalg.lstsq(sums, y, rcond=None)[0][1:]
    yield at_most("B4.4", "full-orbit DA+ERM against invariance-constrained fit", relative_gap(orbit, invariant), 1e-10)
    two = [_fit(sample, penalty, fit_intercept=False).path(_GRID).coef for penalty in ("paired", "pointwise")]
    yield at_most("B4.5", "paired = pointwise, uncentred, D linear in G", relative_gap(*two), 1e-9)
    fits = [
        IVLikeRegressor(penalty="analytic", augmentation=shift, random_state=seed).fit(X, y).coef_ for seed in (0, 1)
    ]
    yield at_most("B4.6", "analytic: two seeds", gap(*fits), 0.0)
    plain = np.linalg.lstsq(np.column_stack([np.ones(len(y)), sample.augmented]), y, rcond=None)[0][1:]
    for number, penalty in enumerate(("projected", "paired", "pointwise")):
        error = relative_gap(_fit(sample, penalty, alpha=np.inf).coef_, plain)
        yield at_most(f"B4.{number + 7}", f"{penalty} at α = ∞ against least squares on GX", error, 1e-10)
    ols = np.linalg.lstsq(np.column_stack([np.ones(len(y)), X]), y, rcond=None)[0][1:]
    same = IVLikeRegressor(penalty="pointwise").fit(X, y, augmented=X).coef_
    yield at_most("B4.10", "identity augmentation, pointwise, against least squares", relative_gap(same, ols), 1e-10)


# ---------------------------------------------------------------------- influence


def _derivative(fit: Callable[[Array], Array], n: int, rows_used: Array) -> Array:
    """n times the derivative of the estimates in the weight of a row, by central differences."""
    step, out = 1e-4, []
    for i in rows_used:
        ends = []
        for sign in (1.0, -1.0):
            weight = np.ones(n)
            weight[i] += sign * step
            ends.append(fit(weight))
        out.append(n * (ends[0] - ends[1]) / (2 * step))
    return np.array(out)


def _influence_rows(sample: Any) -> Iterator[Row]:
    """B5: influence values against numerical derivatives, and identical copies of one draw."""
    n, shift = len(sample.y), augmenters.NullSpaceShift(sample.basis)
    chosen = np.arange(0, n, 40)
    for number, penalty in enumerate(("projected", "paired", "pointwise", "analytic", "constrained")):
        model = IVLikeRegressor(penalty=penalty, augmentation=shift, random_state=1)

        def estimates(weight: Array, model: Any = model) -> Array:
            fitted = model.fit(sample.X, sample.y, sample_weight=weight)
            return np.append(fitted.intercept_, fitted.coef_)

        numerical = _derivative(estimates, n, chosen)
        values = np.asarray(model.fit(sample.X, sample.y).inference().influence_values)[chosen]
        error = relative_gap(values, numerical)
        yield at_most(f"B5.{number + 1}", f"{penalty}: influence values against derivatives", error, 1e-6)
    copies = np.repeat(sample.augmented[:, None, :], 3, axis=1)
    parameters = np.repeat(sample.augmentation_parameters[:, None, :], 3, axis=1)
    for number, penalty in enumerate(("projected", "paired", "pointwise")):
        one = _fit(sample, penalty)
        model = IVLikeRegressor(penalty=penalty)
        three = model.fit(sample.X, sample.y, augmented=copies, augmentation_parameters=parameters)
        error = max(
            relative_gap(three.coef_, one.coef_),
            relative_gap(three.inference().std_error, one.inference().std_error),
        )
        yield at_most(f"B5.{number + 6}", f"{penalty}: three copies of a draw, coefficients and errors", error, 1e-10)


# ---------------------------------------------------------------------- kernels


def _kernel(first: Array, second: Array, gamma: float) -> Array:
    square = ((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-gamma * square))


def _dual(K: Array, n: int, y: Array, alpha: float, eta: float) -> Array:
    """β = (QK + nηI)⁻¹J₁'y with Q = J₁'J₁ + (1/α)(J₁ - J₀)'(J₁ - J₀), on the stacked rows (gx, x)."""
    first, second = np.hstack([np.eye(n), np.zeros((n, n))]), np.hstack([np.zeros((n, n)), np.eye(n)])
    Q = first.T @ first + (first - second).T @ (first - second) / alpha
    return np.asarray(np.linalg.solve(Q @ K + n * eta * np.eye(2 * n), first.T @ y))


def _kernel_rows() -> Iterator[Row]:
    """B6: Nyström with all points as landmarks against the dual formulas."""
    from sklearn.kernel_approximation import Nystroem

    n, alpha, eta, width = 30, 0.3, 1e-2, 0.7
    sample = make_linear_augmentation(n, 3, random_state=np.random.default_rng(15_003))
    GX, G, X, y = sample.augmented, sample.augmentation_parameters, sample.X, sample.y
    scale = X.std()
    GX, X, fresh = GX / scale, X / scale, np.random.default_rng(15_004).standard_normal((50, 3))
    both = np.vstack([GX, X])
    common: dict[str, Any] = {"alpha": alpha, "ridge": eta, "fit_intercept": False}
    landmarks = Nystroem(gamma=width, n_components=2 * n, random_state=0)
    model = IVLikeRegressor(penalty="pointwise", feature_map=landmarks, **common).fit(X, y, augmented=GX)
    dual = _kernel(fresh, both, width) @ _dual(_kernel(both, both, width), n, y, alpha, eta)
    yield at_most(
        "B6.1", "pointwise: Nyström with all landmarks against the dual", gap(model.predict(fresh), dual), 1e-8
    )
    given = {"augmented": GX, "augmentation_parameters": G}
    model = IVLikeRegressor(penalty="projected", feature_map=landmarks, **common).fit(X, y, **given)
    W = alpha * np.eye(n) + G @ np.linalg.solve(G.T @ G, G.T)
    beta = np.linalg.solve(W @ _kernel(GX, GX, width) + n * alpha * eta * np.eye(n), W @ y)
    error = gap(model.predict(fresh), _kernel(fresh, GX, width) @ beta)
    yield at_most("B6.2", "projected: Nyström with all landmarks against the dual", error, 1e-8)
    linear = IVLikeRegressor(penalty="pointwise", **common).fit(X, y, augmented=GX).predict(fresh)
    dual = fresh @ both.T @ _dual(both @ both.T, n, y, alpha, eta)
    yield at_most("B6.3", "pointwise, linear kernel: dual against the closed form with ridge", gap(linear, dual), 1e-8)


# ---------------------------------------------------------------------- order and bounds


def _order_rows(sample: Any) -> Iterator[Row]:
    """B8: the penalty rises with alpha, the largest risk under interventions, bounds that hold the truth."""
    for number, penalty in enumerate(("paired", "pointwise")):
        values = _fit(sample, penalty).path(_GRID).penalty
        fall = float(np.minimum(np.diff(values), 0.0).min())
        yield at_most(
            f"B8.{number + 1}", f"{penalty}: largest fall of h'Bh as α rises", abs(fall), 1e-12 * values.max()
        )
    model = _fit(sample, "projected")
    path = model.path(_GRID)
    direct = path.risk + path.penalty / _GRID
    worst = np.array([worst_case_risk(h, model.moments_, float(a)) for a, h in zip(_GRID, path.coef, strict=True)])
    yield at_most("B8.3", "projected: E r² + E(Pr)²/α against worst_case_risk", relative_gap(direct, worst), 1e-9)
    yield from _bound_rows(sample)


def _bound_rows(sample: Any) -> Iterator[Row]:
    X, xi = sample.X - sample.X.mean(axis=0), sample.y - sample.X @ sample.coef
    xi = xi - xi.mean()
    explained = X @ np.linalg.lstsq(X, xi, rcond=None)[0]
    share = float(explained @ explained / (xi @ xi))
    model = IVLikeRegressor(augmentation=augmenters.NullSpaceShift(sample.basis), penalty="analytic")
    model.fit(sample.X, sample.y)
    rng = np.random.default_rng(15_005)
    contrasts = np.vstack([np.eye(5), rng.standard_normal((20, 5))])
    bounds = model.bounds(share, contrast=contrasts)
    truth = contrasts @ sample.coef
    scale = float(np.abs(truth).max())
    lower, upper = np.asarray(bounds.lower), np.asarray(bounds.upper)
    outside = float(np.maximum(lower - truth, truth - upper).max())
    note = f"true share {share:.3f}, needed {bounds.r2_needed:.3f}"
    yield at_most("B8.4", "25 contrasts: largest distance of c'f outside its bounds", outside, 1e-9 * scale, note=note)
    wider = float((upper - lower - (bounds.upper_without - bounds.lower_without)).max())
    yield at_most("B8.5", "the same: largest excess of width over that without symmetries", wider, 1e-9 * scale)
    infeasible = model.bounds(0.99 * bounds.r2_needed)
    yield near("B8.6", "below the needed share: bounds given", float(infeasible.feasible), 0.0, 0.0)
