"""Estimates of the score s = (log p)' of the predictions: spline score matching and binned kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import NaturalSplineBasis, TabulatedScoreBasis, chunks, spline_knots
from causalkit.exceptions import CalibrationError

__all__ = [
    "KernelScore",
    "choose_knots",
    "fit_kernel_score",
    "gram_by_pieces",
    "noise_weighted_matching",
    "score_matching",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

KNOT_GRID = (2, 3, 4, 5, 6, 8, 10, 12)
_NODES = 4096


# ---------------------------------------------------------------------- spline score matching


def gram_by_pieces(
    basis: NaturalSplineBasis, x: Array, weight: Array | None, folds: Codes | None = None, n_folds: int = 1
) -> tuple[Array, Array]:
    """Sums Σ w BB' and Σ w B' by fold, from power sums of each spline piece.

    On one piece every column is a cubic in t = x - anchor, so Σ BB' needs only Σ t^p, p = 0..6: seven
    passes over the rows whatever the number of knots.

    Returns
    -------
    gram : ndarray, shape (F, K, K)
    slope : ndarray, shape (F, K)
        Sums of the first derivatives.
    """
    k = len(basis.knots)
    anchors, pieces = basis.anchors(), basis.pieces()
    powers = np.zeros((7, n_folds * (k + 1)))
    for part in chunks(len(x)):
        index = np.searchsorted(basis.knots, x[part], side="right")
        step = x[part] - anchors[index]
        cell = index if folds is None else index + (k + 1) * folds[part]
        term = np.ones_like(step) if weight is None else weight[part].copy()
        for p in range(7):
            powers[p] += np.bincount(cell, weights=term, minlength=powers.shape[1])
            term *= step
    moments = powers.reshape(7, n_folds, k + 1)
    exponent = np.add.outer(np.arange(4), np.arange(4))
    gram = np.einsum("aik,abfi,bil->fkl", pieces, moments[exponent], pieces)
    slopes = pieces[1:] * np.array([1.0, 2.0, 3.0])[:, None, None]
    return gram, np.einsum("aik,afi->fk", slopes, moments[:3])


def _solve(gram: Array, right: Array) -> Array:
    try:
        solution = np.linalg.solve(gram, right)
    except np.linalg.LinAlgError:
        solution = np.full_like(right, np.nan)
    if not np.isfinite(solution).all() or np.linalg.cond(gram) > 1e12:
        raise CalibrationError(
            f"the spline Gram matrix of {gram.shape[0]} knots is singular: too many knots for the distinct values "
            "of the predictions. Use fewer knots."
        )
    return np.asarray(solution, dtype=np.float64)


def score_matching(basis: NaturalSplineBasis, x: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Minimise mean[s²/2 + s'] over s = B'β: β = -G⁻¹d, with influence -G⁻¹(B B'β + B').

    Because the span holds 1 and x, mean s = 0 and mean[(x - x̄)s] = -1 hold exactly in the sample.
    Source: Hyvärinen 2005, JMLR 6, eq. 4 (the loss).

    Parameters
    ----------
    basis : NaturalSplineBasis
    x : ndarray, shape (n,)
        Predictions, best on a standardised scale.
    weight : ndarray, shape (n,), optional
        Weights that sum to n.

    Returns
    -------
    beta : ndarray, shape (K,)
    influence : ndarray, shape (n, K)
    """
    n = len(x)
    gram, slope = (part[0] for part in gram_by_pieces(basis, x, weight))
    total = n if weight is None else weight.sum()
    gram, slope = gram / total, slope / total
    beta = -_solve(gram, slope)
    columns = basis.design(x)
    moment = columns * (columns @ beta)[:, None] + basis.derivative(x)
    influence = -_solve(gram, moment.T).T
    if weight is not None:
        influence = influence * (weight * (n / total))[:, None]
    return beta, np.asarray(influence, dtype=np.float64)


def noise_weighted_matching(
    basis: NaturalSplineBasis,
    x: Array,
    residuals: Array,
    residual_influence: Array,
    weight: Array | None = None,
) -> tuple[Array, Array]:
    """Coefficients γ of q = (σ²p)'/p = B'γ, with E[q f] = -E[ε² f']: γ = -G⁻¹ mean(e² B').

    One solve; neither σ²(u), nor its derivative, nor p is estimated.

    Parameters
    ----------
    basis : NaturalSplineBasis
    x : ndarray, shape (n,)
        Predictions.
    residuals : ndarray, shape (n,)
        e = Y - a - bŶ.
    residual_influence : ndarray, shape (n, 2)
        Influence values of the line (intercept, slope) in x on the scale given here; zeros where the
        line is known.
    weight : ndarray, shape (n,), optional
        Weights that sum to n.

    Returns
    -------
    gamma : ndarray, shape (K,)
    influence : ndarray, shape (n, K)
    """
    n = len(x)
    share = np.ones(n) if weight is None else weight * (n / weight.sum())
    gram = gram_by_pieces(basis, x, share)[0][0] / n
    columns, slopes = basis.design(x), basis.derivative(x)
    gamma = -_solve(gram, (share * residuals**2) @ slopes / n)
    moment = share[:, None] * (columns * (columns @ gamma)[:, None] + (residuals**2)[:, None] * slopes)
    # The residuals move with the line: d mean(e²B')/d(a, b) = -2 mean(e B'(1, x)).
    line = 2.0 / n * (slopes * (share * residuals)[:, None]).T @ np.column_stack([np.ones(n), x])
    influence = -_solve(gram, moment.T).T + residual_influence @ _solve(gram, line).T
    return gamma, influence


def choose_knots(
    x: Array, folds: Codes, n_folds: int, weight: Array | None = None, grid: tuple[int, ...] = KNOT_GRID
) -> tuple[int, dict[str, Array]]:
    """Number of knots by cross-validated score matching with the one-standard-error rule.

    The smallest K whose mean held-out loss exceeds the best one's by at most one standard error of the
    paired row differences.

    Returns
    -------
    n_knots : int
    results : dict
        ``n_knots``, ``mean_loss``, ``se_difference``, each of shape (number of K that could be fitted,).
    """
    fitted, losses = [], []
    for k in grid:
        knots = spline_knots(x, k, weight)
        if np.any(np.diff(knots) <= 0):
            break
        basis = NaturalSplineBasis(knots)
        gram, slope = gram_by_pieces(basis, x, weight, folds, n_folds)
        try:
            coef = np.stack([-_solve(gram.sum(0) - g, slope.sum(0) - d) for g, d in zip(gram, slope, strict=True)])
        except CalibrationError:
            break
        fitted.append(k)
        losses.append(_held_out_loss(basis, x, coef, folds))
    if not fitted:
        raise CalibrationError("too many knots for the distinct values of the predictions: not even two knots differ.")
    share = np.full(len(x), 1.0 / len(x)) if weight is None else weight / weight.sum()
    mean = np.array([share @ loss for loss in losses])
    best = int(np.argmin(mean))
    error = np.array(
        [
            np.sqrt(np.sum((share * (loss - losses[best] - (m - mean[best]))) ** 2))
            for loss, m in zip(losses, mean, strict=True)
        ]
    )
    chosen = int(np.argmax(mean - mean[best] <= error))
    return fitted[chosen], {"n_knots": np.array(fitted), "mean_loss": mean, "se_difference": error}


def _held_out_loss(basis: NaturalSplineBasis, x: Array, coef: Array, folds: Codes) -> Array:
    """s²/2 + s' of each row under the coefficients fitted without its fold, shape (n,)."""
    k = len(basis.knots)
    anchors = basis.anchors()
    pieces = np.einsum("aik,fk->afi", basis.pieces(), coef).reshape(4, -1)
    out = np.empty_like(x)
    for part in chunks(len(x)):
        index = np.searchsorted(basis.knots, x[part], side="right")
        step = x[part] - anchors[index]
        c0, c1, c2, c3 = pieces[:, index + (k + 1) * folds[part]]
        value = c0 + step * (c1 + step * (c2 + step * c3))
        out[part] = 0.5 * value**2 + c1 + step * (2 * c2 + step * 3 * c3)
    return out


# ---------------------------------------------------------------------- binned kernel score


@dataclass(frozen=True)
class KernelScore:
    """A Gaussian kernel score on an even grid.

    Attributes
    ----------
    start, step : float
        First node and spacing of the grid.
    density : ndarray, shape (M,)
        Kernel density at the nodes.
    table : TabulatedScoreBasis
        Score between the first and the last usable node, linear beyond with the Gaussian tail's slope.
    bandwidth : float
        Kernel standard deviation h.
    stein_constant : float
        c = -1/mean[(x - x̄)ŝ_loo], the factor that restores the Stein identity.
    variance : float
        Variance of the predictions, divided by n.
    bandwidth_slope : ndarray, shape (len(table.values),)
        ds/dh at the nodes of the table; zeros for a bandwidth that is given.
    """

    start: float
    step: float
    density: Array
    table: TabulatedScoreBasis
    bandwidth: float
    stein_constant: float
    variance: float
    bandwidth_slope: Array

    def convolve(self, mass: Array) -> tuple[Array, Array]:
        """Convolutions of node masses with K_h and K_h', each of shape (M,)."""
        return _convolve(mass, self.step, self.bandwidth)

    def functional_influence(self, x: Array, weights: Array, sample: Array, share: Array) -> Array:
        """Influence on Σ_i ω_i s(x_i) of each row of the calibration sample, shape (n_c, q).

        Σ_i ω_i [K_h'(x_i - U_j) - s(x_i) K_h(x_i - U_j)]/p̂(x_i), by two convolutions per column, plus
        Σ_i ω_i ds(x_i)/dh times IF_j(h) = h((U_j - ū)² - V)/(2V) for Scott's bandwidth. Points beyond the
        usable grid move with the score at its edge and with the variance of the tail's slope.
        ``share`` are the calibration weights n·w/Σw.
        """
        last = self.table.start + self.table.step * (len(self.table.values) - 1)
        inside = np.clip(x, self.table.start, last)
        density = self._interpolate(self.density, inside)
        score = self.table.score(inside)
        tail = (sample - np.average(sample, weights=share)) ** 2 - self.variance
        columns = []
        for column in weights.T:
            first = _bin(inside, column / density, self.start, self.step, len(self.density))
            second = _bin(inside, column * score / density, self.start, self.step, len(self.density))
            # K_h' is odd, so a convolution evaluated at U_j carries the opposite sign.
            values = -self.convolve(first)[1] - self.convolve(second)[0]
            beyond = float(column @ (x - inside)) / self.variance**2
            wider = float(column @ self._at_table(self.bandwidth_slope, inside)) * self.bandwidth / (2 * self.variance)
            columns.append(share * (self._interpolate(values, sample) + (beyond + wider) * tail))
        return np.column_stack(columns)

    def perturbation(self, x: Array, sample: Array, mass: Array) -> Array:
        """Change of s(x) when each calibration row gets the additional mass given, to first order, shape (n,).

        Σ_j mass_j [K_h'(x - U_j) - s(x) K_h(x - U_j)]/p̂(x); beyond the usable grid that of its edge.
        """
        last = self.table.start + self.table.step * (len(self.table.values) - 1)
        inside = np.clip(x, self.table.start, last)
        smooth, change = self.convolve(_bin(sample, mass, self.start, self.step, len(self.density)))
        at_points = self._interpolate(change, inside) - self.table.score(inside) * self._interpolate(smooth, inside)
        tail = (sample - np.average(sample)) ** 2 - self.variance
        wider = float(mass @ tail) * self.bandwidth / (2 * self.variance)
        return np.asarray(
            at_points / self._interpolate(self.density, inside) + wider * self._at_table(self.bandwidth_slope, inside)
        )

    def _at_table(self, values: Array, x: Array) -> Array:
        nodes = self.table.start + self.step * np.arange(len(values))
        return np.interp(x, nodes, values)

    def _interpolate(self, values: Array, x: Array) -> Array:
        nodes = self.start + self.step * np.arange(len(values))
        return np.interp(x, nodes, values)


def _bin(x: Array, mass: Array, start: float, step: float, n_nodes: int) -> Array:
    """Linear binning: each mass is split between its two neighbouring nodes."""
    out = np.zeros(n_nodes)
    for part in chunks(len(x)):
        position = (x[part] - start) / step
        index = np.clip(position.astype(np.intp), 0, n_nodes - 2)
        position -= index
        upper = mass[part] * position
        out += np.bincount(index, weights=mass[part] - upper, minlength=n_nodes)
        out[1:] += np.bincount(index, weights=upper, minlength=n_nodes)[:-1]
    return out


def _convolve(mass: Array, step: float, bandwidth: float) -> tuple[Array, Array]:
    from scipy.fft import irfft, next_fast_len, rfft

    n = len(mass)
    offsets = step * np.arange(-(n - 1), n)
    kernel = np.exp(-0.5 * (offsets / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))
    slope = -offsets / bandwidth**2 * kernel
    size = next_fast_len(3 * n - 2, real=True)
    spectrum = rfft(mass, size)
    smooth = irfft(spectrum * rfft(kernel, size), size)[n - 1 : 2 * n - 1]
    change = irfft(spectrum * rfft(slope, size), size)[n - 1 : 2 * n - 1]
    return smooth, change


def fit_kernel_score(
    x: Array, bandwidth: str | float = "scott", weight: Array | None = None, *, repeated: bool = False
) -> KernelScore:
    """Gaussian-kernel score by linear binning on 4096 nodes and FFT convolution with K_h and K_h'.

    Parameters
    ----------
    x : ndarray, shape (n,)
        Predictions of the calibration population.
    bandwidth : "scott" or float
        Scott's rule n_eff^(-1/5)·sd, or a kernel standard deviation in units of x.
    weight : ndarray, shape (n,), optional
        Sample weights.
    repeated : bool, default=False
        Whether weights mean repeated rows: then they add to the sample size, and leaving one out leaves
        its other copies in.
    """
    if weight is not None and not weight.all():
        x, weight = x[weight > 0], weight[weight > 0]
    n = len(x)
    share = np.full(n, 1.0 / n) if weight is None else weight / weight.sum()
    effective = float(weight.sum()) if repeated and weight is not None else 1.0 / float(share @ share)
    own = np.full(n, 1.0 / effective) if repeated else share
    mean = float(share @ x)
    variance = float(share @ (x - mean) ** 2)
    h = effective**-0.2 * np.sqrt(variance * effective / (effective - 1)) if bandwidth == "scott" else float(bandwidth)
    low, high = float(x.min()), float(x.max())
    start = low - 8 * h
    step = (high - low + 16 * h) / (_NODES - 1)
    mass = _bin(x, share, start, step, _NODES)
    density, slope = _convolve(mass, step, h)
    table = _usable_table(density, slope, start, step, (low, high), variance)
    bandwidth_slope = np.zeros_like(table.values)
    if bandwidth == "scott":
        wide, narrow = (
            _usable_table(*_convolve(mass, step, h * factor), start, step, (low, high), variance)
            for factor in (1.001, 0.999)
        )
        nodes = np.asarray(table.start + step * np.arange(len(table.values)), dtype=np.float64)
        bandwidth_slope = (wide.score(nodes) - narrow.score(nodes)) / (0.002 * h)
    score = KernelScore(start, step, density, table, h, 1.0, variance, bandwidth_slope)
    at_rows, slope_at_rows = score._interpolate(density, x), score._interpolate(slope, x)
    without = at_rows - own / (h * np.sqrt(2 * np.pi))
    # With less than one kernel's worth of neighbours the leave-one-out score is the distance to the nearest row,
    # and a single far prediction would decide the constant: such rows take the normal score.
    lonely = without <= own / (h * np.sqrt(2 * np.pi))
    left_out = np.where(lonely, -(x - mean) / variance, slope_at_rows / np.where(lonely, 1.0, without))
    constant = -1.0 / float(share @ ((x - mean) * left_out))
    return KernelScore(start, step, density, table, h, constant, variance, bandwidth_slope)


def _usable_table(
    density: Array, slope: Array, start: float, step: float, support: tuple[float, float], variance: float
) -> TabulatedScoreBasis:
    nodes = start + step * np.arange(len(density))
    usable = (nodes >= support[0]) & (nodes <= support[1]) & (density >= 1e-8 * density.max())
    first, last = int(np.argmax(usable)), len(usable) - 1 - int(np.argmax(usable[::-1]))
    ratio = np.divide(slope, density, out=np.zeros_like(slope), where=usable)
    inner = slice(first, last + 1)
    # A gap inside the range is bridged from its two sides.
    values = np.interp(nodes[inner], nodes[usable], ratio[usable])
    return TabulatedScoreBasis(float(nodes[first]), step, values, -1.0 / variance, -1.0 / variance)
