"""Random-effects model of calibration lines over sites: moments, shrinkage and new sites, on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RandomEffects", "SiteDistribution", "dersimonian_laird", "shrink"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RandomEffects:
    """Mean and spread of (m, k) over sites.

    Attributes
    ----------
    mean : ndarray, shape (2,)
        μ̂ of (intercept at the centre, slope).
    mean_cov : ndarray, shape (2, 2)
        Covariance of μ̂.
    tau : ndarray, shape (2,)
        Standard deviations over sites.
    q : ndarray, shape (2,)
        Cochran's Q.
    i_squared : ndarray, shape (2,)
        Share of the spread of site estimates that is not noise.
    """

    mean: Array
    mean_cov: Array
    tau: Array
    q: Array
    i_squared: Array


@dataclass(frozen=True)
class SiteDistribution:
    """Lines of the known sites and of a new one, with their joint noise.

    Attributes
    ----------
    labels : ndarray, shape (S,)
        Sites whose line was estimated.
    centre : float
        Value of y at which intercepts are taken.
    coef : ndarray, shape (S + 1, 2)
        (m, k) of each site; the last row is the mean of the sites, which a new site gets.
    rows : ndarray, shape (R, S + 1, 2)
        Rows whose sum of squares is the covariance of ``coef``, or centred posterior draws scaled so.
    spread : ndarray, shape (2,)
        Variances of (m, k) over sites, the transport noise of a new site.
    n_sites : int
        S, for the t reference of a new site.
    draws : ndarray, shape (D, S + 1, 2), optional
        Posterior draws behind ``rows``.
    """

    labels: NDArray[Any]
    centre: float
    coef: Array
    rows: Array
    spread: Array
    n_sites: int
    draws: Array | None = None

    def corrections(self, picked: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Coefficients (c - m/k, 1/k) of the picked lines, shape (C, 2), their noise rows, and Jacobians (C, 2, 2)."""
        m, k = self.coef[picked].T
        theta = np.column_stack([self.centre - m / k, 1 / k])
        jacobian = np.zeros((len(picked), 2, 2))
        jacobian[:, 0, 0], jacobian[:, 0, 1], jacobian[:, 1, 1] = -1 / k, m / k**2, -1 / k**2
        if self.draws is None:
            noise = np.einsum("rci,cji->rcj", self.rows[:, picked], jacobian)
            return theta, noise, jacobian
        m_draws, k_draws = np.moveaxis(self.draws[:, picked], 2, 0)
        per_draw = np.stack([self.centre - m_draws / k_draws, 1 / k_draws], axis=2)
        n = len(per_draw)
        theta = per_draw.mean(axis=0)
        return theta, (per_draw - theta) * np.sqrt((1 + 1 / n) / (n - 1)), jacobian


def dersimonian_laird(coef: Array, cov: Array) -> RandomEffects:
    """DerSimonian-Laird moments of each component over sites.

    τ² = max(0, (Q - S + 1)/C), w = 1/v, Q = Σ w(θ - μ_w)², C = Σw - Σw²/Σw; μ̂ has weights 1/(v + τ²).

    Parameters
    ----------
    coef : ndarray, shape (S, 2)
        Site estimates.
    cov : ndarray, shape (S, 2, 2)
        Their sampling covariances.
    """
    n_sites = len(coef)
    mean, variance, tau, q = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2)
    for c in range(2):
        v = np.maximum(cov[:, c, c], np.finfo(float).tiny)
        w = 1 / v
        pooled = np.average(coef[:, c], weights=w)
        q[c] = np.sum(w * (coef[:, c] - pooled) ** 2)
        scale = _sum_of_products(w) / w.sum()
        between = max(0.0, (q[c] - n_sites + 1) / scale)
        full = 1 / (v + between)
        mean[c] = np.average(coef[:, c], weights=full)
        variance[c] = 1 / full.sum()
        tau[c] = np.sqrt(between)
    i_squared = np.maximum(0.0, 1 - (n_sites - 1) / np.maximum(q, np.finfo(float).tiny))
    return RandomEffects(mean, np.diag(variance), tau, q, i_squared)


def _sum_of_products(w: Array) -> float:
    """Σ_{s≠t} w_s w_t = (Σw)² - Σw², without the difference, which one dominant weight would leave nothing of."""
    others = w.sum() - w
    largest = int(np.argmax(w))
    others[largest] = np.delete(w, largest).sum()
    return float(w @ others)


def shrink(coef: Array, cov: Array, effects: RandomEffects) -> tuple[Array, Array]:
    """Empirical-Bayes lines of the sites, and the joint covariance with the mean.

    With T = diag(τ²): θ̃ = T(V+T)⁻¹θ̂ + Bμ̂, B = V(V+T)⁻¹; variance T(V+T)⁻¹V + B Var(μ̂) B' +
    2/(S-3)·diag[B(θ̂-μ̂)]² (Morris 1983, for S > 3), between sites B_s Var(μ̂) B_t'. These forms hold for
    T = 0, where every site gets μ̂.

    Returns
    -------
    shrunk : ndarray, shape (S + 1, 2)
        Last row: μ̂.
    joint : ndarray, shape (2(S + 1), 2(S + 1))
        Covariance of the rows stacked.
    """
    n_sites = len(coef)
    spread = np.diag(effects.tau**2)
    inverse = np.linalg.inv(cov + spread)
    pull = cov @ inverse  # B_s
    shrunk = np.vstack([effects.mean + np.einsum("sij,sj->si", np.eye(2) - pull, coef - effects.mean), effects.mean])
    loads = np.concatenate([pull, np.eye(2)[None]]).reshape(-1, 2)
    joint = loads @ effects.mean_cov @ loads.T
    for s in range(n_sites):
        block = slice(2 * s, 2 * s + 2)
        posterior = spread @ inverse[s] @ cov[s]
        joint[block, block] += (posterior + posterior.T) / 2
        if n_sites > 3:
            joint[block, block] += 2 / (n_sites - 3) * np.diag((pull[s] @ (coef[s] - effects.mean)) ** 2)
    return shrunk, joint
