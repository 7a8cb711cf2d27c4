r"""Linear invariance: how far the conditional mean of a representation given the action is from linear.

A representation φ is linearly invariant if :math:`E[\phi(X)\mid A] = WA + b`. The maximum moment restriction measures
what is left, :math:`r = \phi - WA - b`, against all functions f of the action,
:math:`Q = \sup_{\|f\|\le 1}(E\langle r, f(A)\rangle)^2 = E[\langle r, r'\rangle k(A, A')]`, with k the kernel of f.
Random features of a Gaussian kernel, projected off (1, A) once, turn it into a product of thin matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

__all__ = [
    "between_action_covariance",
    "draw_frequencies",
    "invariance_penalty",
    "median_distance",
    "orthonormal_moments",
    "project_off_actions",
    "random_fourier_features",
    "whitened_trace",
]

Array = NDArray[np.float64]

_MEDIAN_ROWS = 1000
_SMALLEST_MOMENT = 1e-4  # eigenvalues of the projected features, relative to the largest


def median_distance(actions: Array, rng: np.random.Generator) -> float:
    """Median distance of 1000 action rows, shape (n, k) standardised."""
    rows = actions if len(actions) <= _MEDIAN_ROWS else actions[rng.choice(len(actions), _MEDIAN_ROWS, replace=False)]
    return float(np.median(pdist(rows)))


def draw_frequencies(n_actions: int, n_features: int, bandwidths: Any, rng: np.random.Generator) -> Array:
    """Frequencies ω ~ N(0, I/h²), shape (k, D/2), in equal shares for each bandwidth h."""
    scales = np.repeat(np.atleast_1d(bandwidths), int(np.ceil(n_features / 2 / np.size(bandwidths))))
    return np.asarray(rng.standard_normal((n_actions, n_features // 2)) / scales[: n_features // 2])


def random_fourier_features(actions: Array, frequencies: Array) -> Array:
    r"""Random features of a Gaussian kernel.

    .. math:: f(a) = \big[\cos(\omega_l'a), \sin(\omega_l'a)\big]_{l \le D/2} / \sqrt{D/2}

    Every row has length one, and inner products have mean :math:`\exp(-|a - a'|^2/2h^2)` over draws of
    :math:`\omega \sim N(0, I/h^2)`.

    Parameters
    ----------
    actions : ndarray, shape (n, k)
        Standardised actions.
    frequencies : ndarray, shape (k, D/2)
        ω.

    Returns
    -------
    ndarray, shape (n, D)

    References
    ----------
    Rahimi and Recht (2007), Random features for large-scale kernel machines, NeurIPS 20.
    """
    angles = actions @ frequencies
    return np.hstack([np.cos(angles), np.sin(angles)]) / np.sqrt(frequencies.shape[1])


def project_off_actions(features: Array, actions: Array, sample_weight: Array | None = None) -> tuple[Array, Array]:
    """Residuals of the features' least squares on (1, A), and its coefficients.

    Parameters
    ----------
    features : ndarray, shape (n, D)
        F.
    actions : ndarray, shape (n, k)
        A.
    sample_weight : ndarray, shape (n,), optional
        Weights.

    Returns
    -------
    projected : ndarray, shape (n, D)
        F - (1, A)G, orthogonal to (1, A).
    coefficients : ndarray, shape (k + 1, D)
        G.
    """
    design = np.column_stack([np.ones(len(actions)), actions])
    weighted = design if sample_weight is None else design * sample_weight[:, None]
    coefficients = np.linalg.solve(weighted.T @ design, weighted.T @ features)
    return features - design @ coefficients, coefficients


def orthonormal_moments(gram: Array) -> Array:
    """Combinations E Λ^{-1/2} of projected features that are orthonormal, shape (D, q), from F⊥'F⊥/n."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > _SMALLEST_MOMENT * values[-1]
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept]))[:, ::-1])


def between_action_covariance(phi: Array, actions: Array, sample_weight: Array | None = None) -> Array:
    r"""Covariance of φ that goes with the action, :math:`\mathrm{Cov}(\phi,A)\mathrm{Cov}(A)^{-1}\mathrm{Cov}(A,\phi)`.

    Parameters
    ----------
    phi : ndarray, shape (n, d)
        Representation.
    actions : ndarray, shape (n, k)
        Actions.
    sample_weight : ndarray, shape (n,), optional
        Weights.

    Returns
    -------
    ndarray, shape (d, d)
    """
    w = np.ones(len(phi)) if sample_weight is None else sample_weight
    total = w.sum()
    left, right = phi - w @ phi / total, actions - w @ actions / total
    cross = (left * w[:, None]).T @ right / total
    return np.asarray(cross @ np.linalg.solve((right * w[:, None]).T @ right / total, cross.T))


def invariance_penalty(
    phi: Array, actions: Array, projected: Array, *, whiten: bool = True, sample_weight: Array | None = None
) -> float:
    r"""Violation of linear invariance by a representation, from projected features.

    .. math:: C = n^{-2}\Phi'F_\perp F_\perp'\Phi, \qquad Q = \operatorname{tr} C, \qquad
              Q_B = \operatorname{tr}(S_B^{-1}C)

    with Φ centred and :math:`S_B` the between-action covariance of φ, to whose diagonal one millionth of its mean is
    added. Q equals the V-statistic of the maximum moment restriction with kernel FF' and the least-squares residual of
    φ on (1, A). Q_B does not change if φ is replaced by Hφ + c, so that neither shrinking φ nor adding noise lowers it.

    Parameters
    ----------
    phi : ndarray, shape (n, d)
        Representation.
    actions : ndarray, shape (n, k)
        Actions.
    projected : ndarray, shape (n, D)
        F⊥ of :func:`project_off_actions`.
    whiten : bool, default=True
        Whether to return Q_B, or Q.
    sample_weight : ndarray, shape (n,), optional
        Weights.

    Returns
    -------
    float

    References
    ----------
    Muandet, Jitkrittum and Kübler (2020), Kernel conditional moment test via maximum moment restriction (Q); the
    projection and the whitening are ours.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.extrapolation import invariance_penalty, project_off_actions, random_fourier_features
    >>> rng = np.random.default_rng(0)
    >>> actions = rng.uniform(-1, 1, (2000, 1))
    >>> z = 2 * actions + rng.normal(size=(2000, 1))
    >>> features = random_fourier_features(actions, rng.normal(size=(1, 32)))
    >>> projected, _ = project_off_actions(features, actions)
    >>> straight, bent = (invariance_penalty(phi, actions, projected) for phi in (z, z**3))
    >>> bent > 5 * straight
    True
    """
    n = len(phi)
    w = np.ones(n) if sample_weight is None else sample_weight * n / sample_weight.sum()
    moments = ((phi - w @ phi / n) * w[:, None]).T @ projected / n
    if not whiten:
        return float(np.trace(moments @ moments.T))
    return whitened_trace(moments, between_action_covariance(phi, actions, sample_weight))


def whitened_trace(moments: Array, between: Array) -> float:
    """tr(S_B⁻¹ MM') of moments M = n⁻¹Φ'F⊥, shape (d, D), with a millionth of its mean added to the diagonal of S_B."""
    violation, d = moments @ moments.T, len(between)
    return float(np.trace(np.linalg.solve(between + 1e-6 * np.trace(between) / d * np.eye(d), violation)))
