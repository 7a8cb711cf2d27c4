"""How many latent directions the actions move: canonical correlations and Bartlett's sequential test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["CanonicalTest", "canonical_test"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CanonicalTest:
    """Canonical correlations with sequential p-values.

    Attributes
    ----------
    correlations : ndarray, shape (d,)
        ρ, falling.
    pvalues : ndarray, shape (d,)
        p-value of "this correlation and all smaller ones are zero".
    """

    correlations: Array
    pvalues: Array

    def passed(self, level: float) -> int:
        """Number of leading correlations that are significant one after the other."""
        significant = self.pvalues < level
        return int(len(significant) if significant.all() else np.argmin(significant))


def canonical_test(phi: Array, actions: Array) -> CanonicalTest:
    r"""Bartlett's test of canonical correlations, on rows that the representation was not fitted on.

    .. math:: -\Big(n - 1 - \frac{d + k + 1}{2}\Big)\sum_{l > j}\log(1 - \rho_l^2) \sim \chi^2_{(d-j)(k-j)}

    Parameters
    ----------
    phi : ndarray, shape (n, d)
        Representation.
    actions : ndarray, shape (n, k)
        Actions.

    Returns
    -------
    CanonicalTest

    References
    ----------
    Bartlett (1941), The statistical significance of canonical correlations, Biometrika 32.
    """
    n, d, k = len(phi), phi.shape[1], actions.shape[1]
    left = np.linalg.qr(phi - phi.mean(axis=0))[0]
    right = np.linalg.qr(actions - actions.mean(axis=0))[0]
    rho = np.clip(np.linalg.svd(left.T @ right, compute_uv=False)[: min(d, k)], 0.0, 1 - 1e-12)
    factor = n - 1 - (d + k + 1) / 2
    tail = np.cumsum(np.log1p(-(rho**2))[::-1])[::-1]
    freedom = (d - np.arange(len(rho))) * (k - np.arange(len(rho)))
    return CanonicalTest(rho, stats.chi2.sf(-factor * tail, freedom))
