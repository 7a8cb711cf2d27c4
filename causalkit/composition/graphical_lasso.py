"""CompositionalGraphicalLasso: sparse partial correlations of the parts of a whole."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.composition.covariance import centre_logs, weighted_crossproduct
from causalkit.composition.log_ratios import centred_log_ratios
from causalkit.composition.penalised_likelihood import TARGETS, largest_covariance, solve_sparse
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import ConvergenceWarning, DegenerateLogRatioError, DegreesOfFreedomError
from causalkit.validation import check_choice, check_composition, check_integer, check_sample_weight

__all__ = ["CompositionalGraphicalLasso"]

Array = NDArray[np.float64]


class CompositionalGraphicalLasso(DocumentedEstimator):
    r"""Sparse partial correlations of the parts of a whole.

    With Γ the covariance of the centred log-ratios, the estimate is

    .. math:: \arg\min_\Theta\; -\log\det\Theta + \mathrm{tr}(\Gamma\Theta) + \alpha\,\alpha_{max}
              \sum_{i \ne j} |\Theta_{ij}| ,\qquad \alpha_{max} = \max_{i\ne j} |\gamma_{ij}| .

    For ``target="basis"`` Θ estimates the precision of the log amounts before closing, which differs from that of the
    composition by O(1/D); α = 1 gives the empty graph. For ``target="invariant"`` Θ is restricted to Θ1 = 0 with the
    pseudo-determinant, so it estimates Γ⁺ itself; as α grows it approaches a full graph of ever weaker links, **not
    the empty one**, and the number of zeros need not grow with α. Edges are conditional associations, not causes.

    Parameters
    ----------
    alpha : float, default=0.3
        Penalty relative to α_max, positive.
    target : {"basis", "invariant"}, default="basis"
        What Θ estimates.
    max_iter : int, default=10000
        Largest number of steps.
    tol : float, default=1e-7
        Largest ``kkt_residual_`` that counts as converged.
    verbose : int, default=0
        1 reports the residual on standard error.

    Attributes
    ----------
    precision_ : ndarray, shape (D, D)
        Θ, exactly symmetric, with exact zeros.
    partial_correlation_ : ndarray, shape (D, D)
        :math:`-\Theta_{ij}/\sqrt{\Theta_{ii}\Theta_{jj}}`, diagonal 1.
    log_ratio_covariance_ : ndarray, shape (D, D)
        Γ.
    location_ : ndarray, shape (D,)
        Mean centred log-ratios.
    alpha_max_ : float
        Largest absolute covariance of two centred log-ratios.
    kkt_residual_ : float
        Largest violation of the optimality conditions over the largest entry of diag Γ.
    n_iter_ : int
        Steps that were taken.
    n_features_in_, feature_names_in_
        Number of parts D and their names.

    Raises
    ------
    NonFiniteError, NonPositiveError
        NaN, infinity, negative amounts, zeros (put ``ZeroReplacement`` in front).
    TooFewPartsError, DegreesOfFreedomError
        Fewer than three parts, fewer than three rows.
    DegenerateLogRatioError
        A part that does not vary against the geometric mean.

    Warns
    -----
    ConvergenceWarning
        If ``kkt_residual_`` is above ``tol`` after ``max_iter`` steps.

    References
    ----------
    Zhang, Wang and Lin (2023), CARE, arXiv:2309.06985, for the precision of the log amounts; Kurtz et al. (2015), PLoS
    Computational Biology 11:e1004226, for the graphical lasso on centred log-ratios. The invariant target is an
    extension of this library.

    Examples
    --------
    >>> from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso
    >>> from causalkit.datasets import make_composition_network
    >>> network = make_composition_network(n_samples=500, n_parts=12, random_state=0)
    >>> model = CompositionalGraphicalLasso(alpha=0.5).fit(network.X)
    >>> bool((model.precision_[network.adjacency] != 0).all())
    True
    """

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        target: str = "basis",
        max_iter: int = 10000,
        tol: float = 1e-7,
        verbose: int = 0,
    ) -> None:
        self.alpha = alpha
        self.target = target
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> CompositionalGraphicalLasso:
        """Fit to amounts X, shape (n, D), with optional analysis weights, shape (n,); y is ignored."""
        alpha, tol = _check_positive(self.alpha, "alpha"), _check_positive(self.tol, "tol")
        check_choice(self.target, "target", TARGETS)
        check_integer(self.max_iter, "max_iter", low=1)
        amounts, names = check_composition(X, min_parts=3)
        weight = check_sample_weight(sample_weight, len(amounts), like="X")
        used = len(amounts) if weight is None else int(np.count_nonzero(weight))
        if used < 3:
            raise DegreesOfFreedomError(
                f"X has n_samples = {used} rows (of positive weight): expected at least 3 for a covariance of "
                "log-ratios. Pass more rows."
            )
        data = centre_logs(np.log(amounts), weight)
        gamma = weighted_crossproduct(data, data.clr)
        _refuse_constant_part(gamma, names)
        alpha_max = largest_covariance(gamma)
        found = solve_sparse(
            gamma, alpha * alpha_max, self.target, max_iter=self.max_iter, tol=tol, verbose=self.verbose
        )
        if found.kkt_residual > tol:
            warnings.warn(
                f"the graphical lasso did not converge: residual {found.kkt_residual:.2g} after {found.n_iter} steps, "
                f"tol is {tol:.2g}. Raise max_iter or alpha.",
                ConvergenceWarning,
                stacklevel=2,
            )
        root = np.sqrt(np.diag(found.precision))
        correlation = 0.0 - found.precision / np.outer(root, root)
        np.fill_diagonal(correlation, 1.0)
        validate_data(self, X, reset=True, skip_check_array=True)
        self.precision_, self.partial_correlation_ = found.precision, correlation
        self.log_ratio_covariance_, self.location_ = gamma, data.mean - data.mean.mean()
        self.alpha_max_ = alpha_max
        self.kkt_residual_, self.n_iter_ = found.kkt_residual, found.n_iter
        return self

    def score(self, X: Any, y: Any = None) -> float:
        r"""Mean Gaussian log-density of the rows of X, shape (n, D), in orthonormal log-ratio coordinates.

        :math:`-\frac12[(D-1)\log 2\pi - \log\mathrm{pdet}\,\Gamma^+ + (c-m)'\Gamma^+(c-m)]`. For ``target="basis"`` the
        composition of amounts with precision Θ has Γ⁺ = Θ - uu'/Σu, u = Θ1.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        amounts, _ = check_composition(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        d = self.n_features_in_
        if self.target == "basis":
            u = self.precision_.sum(axis=0)
            precision = self.precision_ - np.outer(u, u) / u.sum()
        else:
            precision = self.precision_
        # Γ⁺1 = 0, so adding 11'/D multiplies the pseudo-determinant by 1.
        log_pdet = float(np.linalg.slogdet(precision + 1.0 / d)[1])
        c = centred_log_ratios(amounts) - self.location_
        distance = np.einsum("ij,ij->i", c @ precision, c)
        return float(-0.5 * ((d - 1) * math.log(2 * math.pi) - log_pdet + distance.mean()))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def _check_positive(value: Any, name: str) -> float:
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}.")
    return float(value)


def _refuse_constant_part(gamma: Array, names: list[str]) -> None:
    variance = np.diag(gamma)
    # A row of equal shares up to rounding leaves variances of about 1e-32.
    constant = np.flatnonzero(variance <= max(1e-12 * float(variance.max()), 1e-24))
    if len(constant):
        raise DegenerateLogRatioError(
            f"part {names[constant[0]]!r} does not vary against the geometric mean of the row (variance "
            f"{variance[constant[0]]:.3g}): expected log-ratios that vary. Drop constant or duplicate rows and parts."
        )
