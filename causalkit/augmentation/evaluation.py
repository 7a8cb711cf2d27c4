"""Distance of coefficients from a known truth, as the risk of predictions under an intervention on X."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.moments import Moments
from causalkit.validation import check_choice, check_matrix, check_vector

__all__ = ["causal_excess_risk", "normalized_causal_excess_risk", "worst_case_risk"]

Array = NDArray[np.float64]


def causal_excess_risk(coef: Any, true_coef: Any, covariance: Any) -> float | Array:
    r"""Mean squared error of the predicted outcome under an intervention that sets X to fresh draws of it.

    :math:`\mathrm{CER}(h) = E\,|f(X') - h(X')|^2 = (h - f)'\Sigma_X(h - f)` for linear f and h, X' distributed as X
    but set from outside, so that no confounder comes with it. Needs the truth: a measure for simulations.

    Parameters
    ----------
    coef : array-like, shape (p,) or (m, p)
        Coefficients h, or one row for each of m fits, such as the points of a path.
    true_coef : array-like, shape (p,)
        True effect f.
    covariance : array-like, shape (p, p)
        Covariance :math:`\Sigma_X` of a row of X; the identity gives the squared Euclidean distance.

    Returns
    -------
    float, or ndarray of shape (m,)

    Raises
    ------
    ValueError
        If shapes do not match, a number is not finite, or ``covariance`` is not symmetric and positive semi-definite.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet and Dai (2025), arXiv:2510.25128, the causal excess risk.

    Examples
    --------
    >>> from causalkit.augmentation.evaluation import causal_excess_risk
    >>> causal_excess_risk([2.0, 1.0], [1.0, 1.0], [[3.0, 0.0], [0.0, 1.0]])
    3.0
    """
    rows, truth, single = _check_coefficients(coef, true_coef)
    risk = _quadratic(rows - truth, _check_covariance(covariance, len(truth)))
    return float(risk[0]) if single else risk


def normalized_causal_excess_risk(coef: Any, true_coef: Any, covariance: Any = None, *, norm: str) -> float | Array:
    r"""Causal excess risk as a share: 0 at the truth, 1/2 where the fit is as good as no effect at all.

    :math:`\mathrm{nCER}(h) = \mathrm{CER}(h)/(\mathrm{CER}(h) + \mathrm{CER}(0))`, in one of two norms. ``"sigma"``
    weighs errors by :math:`\Sigma_X`: errors of prediction. ``"euclidean"`` takes the identity in its place: errors of
    the coefficients, which is what published simulations report. The two can rank estimators differently: in the
    population, and under exact invariance, augmentation never does harm in the first, and may in the second. Hence
    there is no default.

    Parameters
    ----------
    coef : array-like, shape (p,) or (m, p)
        Coefficients h, or one row for each of m fits.
    true_coef : array-like, shape (p,)
        True effect f.
    covariance : array-like, shape (p, p), optional
        :math:`\Sigma_X`, needed by ``norm="sigma"``; not used by ``norm="euclidean"``.
    norm : {"sigma", "euclidean"}
        Which errors count.

    Returns
    -------
    float, or ndarray of shape (m,)

    Raises
    ------
    ValueError
        As in :func:`causal_excess_risk`; if ``norm`` is another one; if ``norm="sigma"`` comes without ``covariance``;
        if the true effect is zero in that norm, so that there is nothing to normalise by.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet and Dai (2025), arXiv:2510.25128.

    Examples
    --------
    >>> from causalkit.augmentation.evaluation import normalized_causal_excess_risk
    >>> normalized_causal_excess_risk([1.0, 0.5], [1.0, 0.0], norm="euclidean")
    0.2
    >>> normalized_causal_excess_risk([[1.0, 0.5], [0.0, 0.0]], [1.0, 0.0], [[1.0, 2.0], [2.0, 5.0]], norm="sigma")
    array([0.55555556, 0.5       ])
    """
    check_choice(norm, "norm", ("sigma", "euclidean"))
    rows, truth, single = _check_coefficients(coef, true_coef)
    if norm == "sigma" and covariance is None:
        raise ValueError(
            'covariance is missing: norm="sigma" weighs errors by the covariance of X. Pass it (of the population in '
            'a simulation, else np.cov(X, rowvar=False)), or norm="euclidean".'
        )
    weight = _check_covariance(covariance, len(truth)) if norm == "sigma" else np.eye(len(truth))
    scale = _quadratic(truth[None, :], weight)[0]
    if not scale > 0:
        raise ValueError(
            f"true_coef must not be zero in the norm {norm!r}: without an effect there is nothing to normalise by. "
            "Use causal_excess_risk."
        )
    risk = _quadratic(rows - truth, weight)
    share = risk / (risk + scale)
    return float(share[0]) if single else share


def _quadratic(rows: Array, weight: Array) -> Array:
    return np.asarray(np.einsum("ij,ij->i", rows @ weight, rows))


def _check_coefficients(coef: Any, true_coef: Any) -> tuple[Array, Array, bool]:
    """Coefficients as rows, the truth, and whether one vector was given."""
    truth = check_vector(true_coef, "true_coef")
    single = np.ndim(coef) < 2
    rows = check_vector(coef, "coef")[None, :] if single else check_matrix(coef, "coef")[0]
    if rows.shape[1] != len(truth):
        raise ValueError(
            f"coef must have one number per entry of true_coef: expected shape ({len(truth)},) or (m, {len(truth)}), "
            f"got {np.shape(coef)}."
        )
    return rows, truth, single


def _check_covariance(covariance: Any, p: int) -> Array:
    matrix, _ = check_matrix(covariance, "covariance")
    if matrix.shape != (p, p):
        raise ValueError(f"covariance must have shape ({p}, {p}) to match true_coef; got {matrix.shape}.")
    size = float(np.abs(matrix).max())
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-10 * size):
        raise ValueError("covariance must be symmetric; got a matrix that differs from its transpose.")
    low = float(np.linalg.eigvalsh(matrix)[0])
    if low < -1e-10 * size * p:
        raise ValueError(f"covariance must be positive semi-definite; got one with the eigenvalue {low:g}.")
    return matrix


def worst_case_risk(coef: Any, moments: Moments, alpha: float) -> float:
    r"""Largest prediction risk over interventions on the augmented directions that alpha allows.

    :math:`E r^2 + \tfrac1\alpha E(P_G r)^2`, r = y - h'x centred: the largest mean squared residual over interventions
    that set Γ'(·) := ζ with :math:`\zeta\zeta' \preceq (1 + 1/\alpha)\,\Gamma'\Sigma_G\Gamma`, in the linear Gaussian
    model. The coefficients of ``penalty="projected"`` at alpha minimise it.

    Parameters
    ----------
    coef : array-like, shape (p,)
        Coefficients h.
    moments : Moments
        ``moments_`` of a fit with parameters or instruments, one outcome.
    alpha : float
        In (0, inf].

    Returns
    -------
    float
        In squared units of y.

    Raises
    ------
    ValueError
        Coefficients of another length, alpha that is not positive, or moments without parameters.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet and Dai (2025), arXiv:2510.25128, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation import IVLikeRegressor, worst_case_risk
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(200, 1))
    >>> X = Z + rng.normal(size=(200, 1))
    >>> model = IVLikeRegressor(alpha=0.5).fit(X, X[:, 0] + rng.normal(size=200), instruments=Z)
    >>> best = worst_case_risk(model.coef_, model.moments_, 0.5)
    >>> best < worst_case_risk(model.coef_ + 0.1, model.moments_, 0.5)
    True
    """
    h = check_vector(coef, "coef", n_rows=moments.layout.features, like="moments")
    if not isinstance(alpha, int | float | np.number) or not alpha > 0:
        raise ValueError(f"alpha must be in (0, inf]; got {alpha!r}. At alpha = 0 the largest risk is infinite.")
    if not moments.layout.parameters or moments.layout.outcomes != 1:
        raise ValueError(
            "moments must come from a fit with augmentation parameters or instruments, and one outcome; got "
            f"{moments.layout.parameters} parameters and {moments.layout.outcomes} outcomes."
        )
    risk = moments.second("y", "y")[0, 0] - 2 * h @ moments.second("x", "y")[:, 0] + h @ moments.second("x", "x") @ h
    gap = moments.second("g", "y")[:, 0] - moments.second("g", "x") @ h
    projected = gap @ np.linalg.pinv(moments.second("g", "g"), hermitian=True) @ gap
    return float(risk + projected / alpha)
