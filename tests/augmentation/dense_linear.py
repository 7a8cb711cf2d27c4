"""Linear fits from explicit rows and n x n projections: slow, short, and independent of the library's moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import null_space

PENALTIES = ("projected", "paired", "pointwise", "analytic", "constrained")


@dataclass(frozen=True)
class Sample:
    """Rows with R augmented copies.

    X (n, p), y (n,) or (n, t), GX (n, R, p), G (n, R, k), W (n, e), weight (n,), groups (n,), K (p, p): covariance of
    the moves that "analytic" is given.
    """

    X: np.ndarray
    y: np.ndarray
    GX: np.ndarray
    G: np.ndarray
    W: np.ndarray
    weight: np.ndarray
    groups: np.ndarray
    K: np.ndarray

    def rows(self, index: Any) -> Sample:
        """The rows of an index."""
        return replace(self, **{name: getattr(self, name)[index] for name in vars(self) if name != "K"})

    def given(self, *, parameters: bool = True, controls: bool = False, weights: bool = False) -> dict[str, Any]:
        """Keyword arguments of fit for augmented features that were made beforehand."""
        arguments: dict[str, Any] = {"augmented": self.GX}
        if parameters:
            arguments["augmentation_parameters"] = self.G
        if controls:
            arguments["exogenous"] = self.W
        if weights:
            arguments["sample_weight"] = self.weight
        return arguments


def sample(n: int = 40, p: int = 4, k: int = 2, draws: int = 1, seed: int = 0, outcomes: int = 0) -> Sample:
    """Moves within k fixed directions, not linear in G and not of mean zero; columns of unequal sizes and means."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, p))
    X = hidden @ rng.normal(size=(p, p)) + 0.3 * rng.normal(size=(n, p)) + np.arange(p)
    f = rng.normal(size=(p, max(outcomes, 1)))
    W = rng.normal(size=(n, 2)) + X[:, :1]
    y = X @ f + hidden.sum(axis=1, keepdims=True) + W @ np.ones((2, 1)) + rng.normal(size=(n, f.shape[1])) + 3.0
    G = rng.normal(size=(n, draws, k)) + 0.5
    gamma = rng.normal(size=(k, p))
    GX = X[:, None, :] + (G + 0.3 * G**2) @ gamma
    weight = rng.integers(0, 4, n).astype(float)
    weight[:3] = (1.0, 2.0, 3.0)
    groups = rng.integers(0, 8, n)
    return Sample(X, y if outcomes else y[:, 0], GX, G, W, weight, groups, gamma.T @ gamma)


@dataclass(frozen=True)
class DenseFit:
    """coef (p, t), intercept (t,), controls (e, t) or None."""

    coef: np.ndarray
    intercept: np.ndarray
    controls: np.ndarray | None
    hat_trace: float


def dense_fit(
    data: Sample,
    penalty: str,
    alpha: float,
    *,
    intercept: bool = True,
    controls: bool = False,
    weights: bool = False,
    ridge: float = 0.0,
    shares: np.ndarray | None = None,
) -> DenseFit:
    """(αA + B)h = αa + b with every projection an explicit matrix over the n·R augmented rows."""
    n, draws, p = data.GX.shape
    share = np.full(draws, 1.0 / draws) if shares is None else shares
    omega = np.outer(data.weight if weights else np.ones(n), share).ravel()
    omega = omega / omega.sum()
    X = np.repeat(data.X, draws, axis=0)
    y = np.repeat(data.y.reshape(n, -1), draws, axis=0)
    x = data.GX.reshape(-1, p)
    W = np.repeat(data.W, draws, axis=0)
    d = x - X
    if penalty in ("analytic", "constrained"):
        x = X
    centre = np.outer(np.ones(n * draws), omega) if intercept else np.zeros((n * draws, n * draws))
    away = np.eye(n * draws) - centre
    if controls:
        Wc = away @ W
        away = (np.eye(n * draws) - Wc @ np.linalg.solve(Wc.T @ (omega[:, None] * Wc), Wc.T * omega)) @ away
    xr, yr, gr, dr = away @ x, away @ y, away @ data.G.reshape(n * draws, -1), away @ d
    A0, a = xr.T @ (omega[:, None] * xr), xr.T @ (omega[:, None] * yr)
    A = A0 + ridge * np.eye(p)
    P = gr @ np.linalg.pinv(gr.T @ (omega[:, None] * gr)) @ (gr.T * omega)
    b = np.zeros_like(a)
    if penalty == "projected":
        B, b = xr.T @ (omega[:, None] * (P @ xr)), xr.T @ (omega[:, None] * (P @ yr))
    elif penalty == "paired":
        B = dr.T @ (omega[:, None] * (P @ dr))
    elif penalty == "analytic":
        B = data.K
    else:
        B = d.T @ (omega[:, None] * d)
    coef, inverse = _solve(penalty, alpha, A, a, B, b)
    rest = y - x @ coef
    mean = omega @ rest if intercept else np.zeros(y.shape[1])
    delta = None
    if controls:
        Wc = W - centre @ W
        delta = np.linalg.solve(Wc.T @ (omega[:, None] * Wc), Wc.T @ (omega[:, None] * (rest - centre @ rest)))
        mean = mean - (omega @ W) @ delta if intercept else mean
    return DenseFit(coef, mean, delta, float(np.trace(inverse @ A0)))


def _solve(penalty: str, alpha: float, A: Any, a: Any, B: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, and the matrix that makes them from a (without b)."""
    if penalty == "constrained" or alpha == 0:
        N = null_space(B, rcond=1e-9)
        inside = N @ np.linalg.solve(N.T @ A @ N, N.T)
        if penalty != "projected":
            return inside @ a, inside
        some = np.linalg.pinv(B, rcond=1e-9, hermitian=True) @ b
        return some + inside @ (a - A @ some), inside
    if np.isinf(alpha):
        inverse = np.linalg.inv(A + (B if penalty == "analytic" else 0.0))
        return inverse @ a, inverse
    if penalty == "analytic":
        inverse = np.linalg.inv(A + (1 + 1 / alpha) * B)
        return inverse @ a, inverse
    inverse = np.linalg.inv(alpha * A + B)
    return inverse @ (alpha * a + b), alpha * inverse


def stacked(model: Any) -> np.ndarray:
    """(intercept, coefficients, controls) of each outcome, shape (t, ...): the order of results."""
    coef = np.atleast_2d(model.coef_)
    parts = [coef]
    if model.fit_intercept:
        parts.insert(0, np.reshape(model.intercept_, (-1, 1)))
    if hasattr(model, "exogenous_coef_"):
        parts.append(np.atleast_2d(model.exogenous_coef_))
    return np.hstack(parts)
