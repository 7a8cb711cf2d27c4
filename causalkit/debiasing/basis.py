"""Bases in which every correction is linear, g(ŷ) = h(ŷ)'θ, and their fast evaluation.

Four bases share one small interface: a straight line, natural cubic splines, a line plus a tabulated
score, and lines by cell (site or treatment level).

``design(x, cells)``            the columns h, shape (n, J)
``evaluate(x, coef, cells)``    h(x)'θ in chunks, shape (n,)
``project(x, weights, cells)``  Σ_i h(x_i) ω_i in chunks, shape (J, q)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Basis",
    "CellBasis",
    "CustomScoreBasis",
    "NaturalSplineBasis",
    "TabulatedScoreBasis",
    "chunks",
    "spline_knots",
    "weighted_quantile",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

# A chunk and its temporaries stay inside the second-level cache.
_CHUNK = 16_384


def chunks(n: int, size: int = _CHUNK) -> Iterator[slice]:
    """Consecutive slices that cover n rows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


@dataclass(frozen=True)
class Basis:
    """Columns (1, x): the basis of linear calibration, and the parent of the others."""

    @property
    def n_columns(self) -> int:
        """Number of columns, J."""
        return 2

    @property
    def starts_with_line(self) -> bool:
        """Whether the first two columns are (1, x)."""
        return True

    def design(self, x: Array, cells: Codes | None = None) -> Array:
        """Columns of the basis, shape (n, J)."""
        return np.column_stack([np.ones_like(x), x])

    def evaluate(self, x: Array, coef: Array, cells: Codes | None = None) -> Array:
        """Value of the correction with coefficients ``coef``, shape (n,)."""
        out = np.multiply(x, coef[1])
        out += coef[0]
        return out

    def project(self, x: Array, weights: Array, cells: Codes | None = None) -> Array:
        """Downstream estimates of each column, Σ_i h(x_i) ω_i, shape (J, q)."""
        total = np.zeros((self.n_columns, weights.shape[1]))
        for part in chunks(len(x)):
            columns = self.design(x[part], None if cells is None else cells[part])
            total += columns.T @ weights[part]
        return total


@dataclass(frozen=True)
class CellBasis(Basis):
    """Straight lines by cell: own intercepts, and own slopes unless ``shared_slope``.

    Columns are (1, x) of cell 0, (1, x) of cell 1, ...; with a shared slope they are
    (1, x, 1{cell=1}, 1{cell=2}, ...).
    """

    n_cells: int
    shared_slope: bool = False

    @property
    def starts_with_line(self) -> bool:
        return self.shared_slope

    @property
    def n_columns(self) -> int:
        return self.n_cells + 1 if self.shared_slope else 2 * self.n_cells

    def design(self, x: Array, cells: Codes | None = None) -> Array:
        codes = np.zeros(len(x), dtype=np.intp) if cells is None else cells
        columns = np.zeros((len(x), self.n_columns))
        rows = np.arange(len(x))
        if self.shared_slope:
            columns[:, 0] = 1.0
            columns[:, 1] = x
            treated = codes > 0
            columns[rows[treated], codes[treated] + 1] = 1.0
        else:
            columns[rows, 2 * codes] = 1.0
            columns[rows, 2 * codes + 1] = x
        return columns

    def evaluate(self, x: Array, coef: Array, cells: Codes | None = None) -> Array:
        codes = np.zeros(len(x), dtype=np.intp) if cells is None else cells
        if self.shared_slope:
            return np.concatenate([[0.0], coef[2:]])[codes] + coef[0] + coef[1] * x
        return coef[0::2][codes] + coef[1::2][codes] * x


@dataclass(frozen=True)
class NaturalSplineBasis(Basis):
    """Natural cubic splines with linear tails, {1, x} in the span, K knots and K columns.

    The columns are 1, x and the cardinal natural splines of the inner knots (1 at one knot, 0 at the
    others), which keeps Gram matrices well conditioned. K = 2 is the straight line.

    Attributes
    ----------
    knots : ndarray, shape (K,)
        Increasing knots.
    """

    knots: Array

    @property
    def n_columns(self) -> int:
        return len(self.knots)

    def pieces(self) -> Array:
        """Cubic coefficients of each column, shape (4, K + 1, K), in powers of x less the left knot.

        Piece 0 is the left tail (in powers of x less the first knot), piece K the right tail.
        """
        from scipy.interpolate import CubicSpline

        knots = self.knots
        k = len(knots)
        pieces = np.zeros((4, k + 1, k))
        anchors = self.anchors()
        pieces[0, :, 0] = 1.0
        pieces[0, :, 1] = anchors
        pieces[1, :, 1] = 1.0
        if k > 2:
            inner = CubicSpline(knots, np.eye(k)[:, 1:-1], bc_type="natural")
            pieces[:, 1:k, 2:] = inner.c[::-1]
            pieces[1, 0, 2:] = inner(knots[0], 1)
            pieces[0, k, 2:] = inner(knots[-1])
            pieces[1, k, 2:] = inner(knots[-1], 1)
        return pieces

    def anchors(self) -> Array:
        """Point about which each piece is expanded, shape (K + 1,)."""
        return np.concatenate([self.knots[:1], self.knots])

    def design(self, x: Array, cells: Codes | None = None) -> Array:
        return self._columns(x, self.pieces())

    def derivative(self, x: Array) -> Array:
        """First derivatives of the columns, shape (n, K)."""
        pieces = self.pieces()
        slopes = np.zeros_like(pieces)
        slopes[:3] = pieces[1:] * np.array([1.0, 2.0, 3.0])[:, None, None]
        return self._columns(x, slopes)

    def _columns(self, x: Array, pieces: Array) -> Array:
        anchors = self.anchors()
        out = np.empty((len(x), pieces.shape[2]))
        for part in chunks(len(x)):
            index = np.searchsorted(self.knots, x[part], side="right")
            step = x[part] - anchors[index]
            for j in range(pieces.shape[2]):
                c0, c1, c2, c3 = (pieces[p, :, j].take(index) for p in range(4))
                out[part, j] = c0 + step * (c1 + step * (c2 + step * c3))
        return out

    def evaluate(self, x: Array, coef: Array, cells: Codes | None = None) -> Array:
        if len(self.knots) == 2:
            return super().evaluate(x, coef)
        c0, c1, c2, c3 = np.ascontiguousarray(self.pieces() @ coef)
        anchors = self.anchors()
        out = np.empty_like(x)
        for part in chunks(len(x)):
            values = x[part]
            index = np.zeros(len(values), dtype=np.intp)
            for knot in self.knots:  # a handful of comparisons beats a binary search per element
                index += values >= knot
            step = values - anchors.take(index)
            piece = c3.take(index)
            piece *= step
            piece += c2.take(index)
            piece *= step
            piece += c1.take(index)
            piece *= step
            piece += c0.take(index)
            out[part] = piece
        return out


@dataclass(frozen=True)
class TabulatedScoreBasis(Basis):
    """Columns (1, x, s(x)) with s tabulated on an even grid, linear between and beyond its nodes.

    Attributes
    ----------
    start, step : float
        First node and spacing.
    values : ndarray, shape (M,)
        Score at the nodes.
    lower_slope, upper_slope : float
        Slope of the score to the left of the first node and to the right of the last.
    """

    start: float
    step: float
    values: Array
    lower_slope: float
    upper_slope: float

    @property
    def n_columns(self) -> int:
        return 3

    def score(self, x: Array) -> Array:
        """Score s(x), shape (n,)."""
        out = np.empty_like(x)
        last = len(self.values) - 2
        rise = np.diff(self.values)
        upper = self.start + self.step * (last + 1)
        for part in chunks(len(x)):
            values = x[part]
            position = (values - self.start) / self.step
            index = np.clip(position.astype(np.intp), 0, last)
            position -= index
            piece = self.values.take(index) + position * rise.take(index)
            low, high = values < self.start, values > upper
            if low.any():
                piece[low] = self.values[0] + self.lower_slope * (values[low] - self.start)
            if high.any():
                piece[high] = self.values[-1] + self.upper_slope * (values[high] - upper)
            out[part] = piece
        return out

    def design(self, x: Array, cells: Codes | None = None) -> Array:
        return np.column_stack([np.ones_like(x), x, self.score(x)])

    def evaluate(self, x: Array, coef: Array, cells: Codes | None = None) -> Array:
        out = self.score(x)
        out *= coef[2]
        out += coef[0]
        for part in chunks(len(x)):
            out[part] += coef[1] * x[part]
        return out


@dataclass(frozen=True)
class CustomScoreBasis(Basis):
    """Columns (1, x, s(x)) with a score that the user supplies.

    Attributes
    ----------
    function : callable
        Score of an array of points.
    column : bool
        Whether the points are passed as one column (estimators) or as a vector (functions).
    """

    function: Callable[[Array], Array]
    column: bool

    @property
    def n_columns(self) -> int:
        return 3

    def score(self, x: Array) -> Array:
        """Score s(x), shape (n,)."""
        values = np.asarray(self.function(x[:, None] if self.column else x), dtype=np.float64).reshape(-1)
        if values.shape != x.shape or not np.isfinite(values).all():
            raise ValueError(
                f"score returned {values.size} values, {int((~np.isfinite(values)).sum())} of them not finite, for "
                f"{x.size} predictions: expected one finite score per prediction."
            )
        return values

    def design(self, x: Array, cells: Codes | None = None) -> Array:
        return np.column_stack([np.ones_like(x), x, self.score(x)])

    def evaluate(self, x: Array, coef: Array, cells: Codes | None = None) -> Array:
        return coef[0] + coef[1] * x + coef[2] * self.score(x)


def spline_knots(x: Array, n_knots: int, weight: Array | None = None) -> Array:
    """Knots at equally spaced quantile levels from .02 to .98, shape (K,)."""
    return weighted_quantile(x, np.linspace(0.02, 0.98, n_knots), weight)


def weighted_quantile(x: Array, levels: Array, weight: Array | None = None) -> Array:
    """Quantiles by linear interpolation of order statistics; integer weights mean repeated rows.

    ``weight`` is on the scale of row counts (its sum is the sample size).
    """
    if weight is None:
        return np.asarray(np.quantile(x, levels), dtype=float)
    order = np.argsort(x, kind="stable")
    mass = np.cumsum(weight[order])
    position = np.asarray(levels) * (mass[-1] - 1.0)
    below = np.floor(position)
    # The tolerance keeps rounding in the running sum from moving an order statistic by one.
    last = len(x) - 1
    low = np.minimum(np.searchsorted(mass, below + 1e-9 * mass[-1], side="right"), last)
    high = np.minimum(np.searchsorted(mass, below + 1.0 + 1e-9 * mass[-1], side="right"), last)
    x = x[order]
    return np.asarray(x[low] + (position - below) * (x[high] - x[low]), dtype=float)
