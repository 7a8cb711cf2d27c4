r"""Shrinkage of level effects: towards their mean, or towards what the texts of a level let expect.

One factor throughout. The coefficients stay those of the regression within levels: random effects that go with the
features, the case of interest, make a plain random-effects estimate of θ inconsistent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalkit.exceptions import IdentificationError
from causalkit.rewards.absorption import Absorption
from causalkit.rewards.fixed_effects import WithinFit
from causalkit.rewards.level_effects import LevelEffects

__all__ = ["GroupMeanTest", "ShrunkEffects", "mixed_effects", "mundlak_effects"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupMeanTest:
    """Wald test of π = 0: do levels and texts go together?

    Attributes
    ----------
    statistic : float
        π̂'V⁻¹π̂ with V clustered by level.
    degrees_of_freedom : int
        Rank of V.
    pvalue : float
        From the χ² distribution.
    """

    statistic: float
    degrees_of_freedom: int
    pvalue: float


@dataclass(frozen=True, eq=False)
class ShrunkEffects:
    """Effects of the levels of one factor, each between its estimate and its prior mean.

    Attributes
    ----------
    effects : ndarray, shape (G,)
        α̃; for a level without rows the prior mean at the mean features.
    prior_means : ndarray, shape (G,)
        What is expected of a level before its outcomes are seen.
    shrinkage : ndarray, shape (G,)
        λ, the share of the estimate that is kept; 0 for a level without rows.
    posterior_variances : ndarray, shape (G,)
        λσ̂²/n_g + (1 - λ)² times the variance of the estimated prior mean.
    standard_errors : ndarray, shape (G,)
        Of α̃ at the mean features: the posterior variance and the error that θ̂ brings in.
    sigma2 : float
        Residual variance σ̂².
    level_variance : float
        Variance of the effects about their prior means, of which a negative estimate is set to 0.
    coef : ndarray, shape (1 + m,)
        Intercept and slopes of the prior mean; m = 0 with a common mean.
    coef_covariance : ndarray, shape (1 + m, 1 + m)
        Of ``coef``, given the variances.
    test : GroupMeanTest or None
        Test of the slopes on the features, where there are any.
    """

    effects: Array
    prior_means: Array
    shrinkage: Array
    posterior_variances: Array
    standard_errors: Array
    sigma2: float
    level_variance: float
    coef: Array
    coef_covariance: Array
    test: GroupMeanTest | None = None

    def prior(self, means: Array | None = None, n_levels: int = 1) -> tuple[Array, Array]:
        """Prior means and variances of levels that were not in the fit.

        Parameters
        ----------
        means : ndarray, shape (k, m), optional
            Level means of the features (and numeric confounders) of the new levels; only with slopes.
        n_levels : int, default=1
            Number of new levels where there are no slopes.

        Returns
        -------
        mean, variance : ndarray, shape (k,)
            The variance is that of the effects; it holds no error of the estimated prior.
        """
        if len(self.coef) == 1:
            return np.full(n_levels, self.coef[0]), np.full(n_levels, self.level_variance)
        if means is None or means.ndim != 2 or means.shape[1] != len(self.coef) - 1:
            raise ValueError(
                f"means must have shape (k, {len(self.coef) - 1}), one row of feature means per new level; "
                f"got {None if means is None else means.shape}."
            )
        return self.coef[0] + means @ self.coef[1:], np.full(len(means), self.level_variance)


@dataclass(frozen=True, eq=False)
class _Between:
    """Weighted regression of level effects on Z over levels with rows."""

    coef: Array
    bread: Array
    fitted: Array
    level_variance: float


def _between(Z: Array, effects: Array, weight: Array, sigma2: float, penalty: float) -> _Between:
    r"""Regress α̂ on Z with weights n_g; moment estimate of the variance that is left.

    With H the hat matrix, :math:`E\sum n_gu_g^2 = \sigma^2(G - \mathrm{tr}H) + \sigma_u^2(N - \mathrm{tr}[(Z'NZ)^{-1}
    Z'N^2Z])`; for a constant Z that is the usual estimate for groups of unequal size.
    """
    moment = Z.T @ (Z * weight[:, None])
    ridge = np.full(Z.shape[1], penalty)
    ridge[0] = 0.0
    bread = np.asarray(np.linalg.inv(moment + np.diag(ridge)), dtype=np.float64)
    coef: Array = np.asarray(bread @ (Z.T @ (weight * effects)))
    fitted: Array = np.asarray(Z @ coef)
    residual: Array = effects - fitted
    free = len(effects) - float(np.trace(bread @ moment))
    spread = float(weight.sum()) - float(np.trace(bread @ (Z.T @ (Z * (weight**2)[:, None]))))
    excess = float(weight @ residual**2) - free * sigma2
    return _Between(coef, bread, fitted, max(0.0, excess / spread) if spread > 0 else 0.0)


def _one_factor(absorption: Absorption, method: str) -> None:
    if len(absorption.codes) > 1:
        raise ValueError(
            f'method="{method}" needs exactly one categorical confounder, got {len(absorption.codes)}: '
            f'{", ".join(absorption.names)}. Pass their interaction, choose one, or use method="fixed_effects".'
        )


def _shrink(
    fit: WithinFit, levels: LevelEffects, Z: Array, between: _Between, test: GroupMeanTest | None
) -> ShrunkEffects:
    """Posterior means and variances of all levels from the regression between them."""
    weight, estimates = levels.weights[0], levels.effects[0]
    seen = weight > 0
    sigma2, tau2 = fit.sigma2, between.level_variance
    noise = np.divide(sigma2, weight, out=np.full(len(weight), np.inf), where=seen)
    kept = np.divide(tau2, tau2 + noise, out=np.zeros(len(weight)), where=seen & (tau2 + noise > 0))
    # A level without rows is expected where the average level is.
    rows = np.tile(np.average(Z, axis=0, weights=weight[seen]), (len(weight), 1))
    rows[seen] = Z
    prior = rows @ between.coef
    effects = np.where(seen, prior + kept * (np.where(seen, estimates, 0.0) - prior), prior)
    # Errors of α̂ about its prior mean have variance σ_u² + σ²/n_g, so their weighted sums have this covariance.
    scores = Z * (weight[seen] * np.sqrt(tau2 + noise[seen]))[:, None]
    covariance = between.bread @ (scores.T @ scores) @ between.bread
    prior_error = np.einsum("ij,ij->i", rows @ covariance, rows)
    own = np.where(seen, kept * np.where(seen, noise, 0.0), tau2)
    posterior = own + (1 - kept) ** 2 * prior_error
    # What a level's standard error has beyond σ̂²/n_g comes from θ̂ and moves with the estimate.
    errors = np.zeros(len(weight)) if levels.standard_errors is None else levels.standard_errors[0]
    beyond = np.where(seen, np.where(seen, errors, 0.0) ** 2 - np.where(seen, noise, 0.0), 0.0)
    standard = np.sqrt(posterior + kept**2 * np.clip(beyond, 0.0, None))
    return ShrunkEffects(effects, prior, kept, posterior, standard, sigma2, tau2, between.coef, covariance, test)


def mixed_effects(fit: WithinFit, levels: LevelEffects) -> ShrunkEffects:
    r"""Shrink level effects towards their mean, :math:`\bar\alpha + \lambda_g(\hat\alpha_g - \bar\alpha)`.

    :math:`\lambda_g = \hat\sigma_\alpha^2/(\hat\sigma_\alpha^2 + \hat\sigma^2/n_g)` with the moment estimate
    :math:`\hat\sigma_\alpha^2 = \max(0, [\sum n_g(\hat\alpha_g - \bar\alpha)^2 - (G - 1)\hat\sigma^2] /
    [N - \sum n_g^2/N])` and the weighted mean :math:`\bar\alpha`. θ̂ is not touched.

    Parameters
    ----------
    fit : WithinFit
        One factor.
    levels : LevelEffects
        From :func:`~causalkit.rewards.level_effects.level_effects`.

    Returns
    -------
    ShrunkEffects

    Raises
    ------
    ValueError
        Several factors.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.absorption import absorb
    >>> from causalkit.rewards.fixed_effects import within_fit
    >>> from causalkit.rewards.level_effects import level_effects
    >>> from causalkit.rewards.records import Factor
    >>> from causalkit.rewards.shrinkage import mixed_effects
    >>> rng = np.random.default_rng(0)
    >>> codes = np.repeat(np.arange(200), 2)
    >>> alpha = rng.normal(size=200)
    >>> X = rng.normal(size=(400, 1)) + alpha[codes][:, None]
    >>> y = X[:, 0] + alpha[codes] + rng.normal(size=400)
    >>> fit = within_fit(X, y, None, absorb([Factor("author", codes, np.arange(200))]))
    >>> levels = level_effects(fit, X, y)
    >>> shrunk = mixed_effects(fit, levels)
    >>> bool(np.var(shrunk.effects - alpha) < np.var(levels.effects[0] - alpha))
    True
    """
    _one_factor(fit.absorption, "mixed")
    weight = levels.weights[0]
    seen = weight > 0
    Z = np.ones((int(seen.sum()), 1))
    between = _between(Z, levels.effects[0][seen], weight[seen], fit.sigma2, 0.0)
    return _shrink(fit, levels, Z, between, None)


def mundlak_effects(fit: WithinFit, levels: LevelEffects) -> ShrunkEffects:
    r"""Shrink level effects towards :math:`\hat\mu + \bar X_g'\hat\pi`, what the texts of the level let expect.

    Least squares of Y on :math:`(1, X, \bar X_g)` separates: deviations from level means are orthogonal to level
    means, so its coefficients of X are the within coefficients whatever the sizes of the levels, and π̂ is the
    weighted regression of :math:`\hat\alpha_g` on :math:`(1, \bar X_g)`. Numeric confounders enter with their level
    means as well. A ridge penalty of the fit is applied to the slopes here too.

    Parameters
    ----------
    fit : WithinFit
        One factor.
    levels : LevelEffects
        From :func:`~causalkit.rewards.level_effects.level_effects`.

    Returns
    -------
    ShrunkEffects
        ``coef`` holds μ̂, π̂ and the slopes on numeric confounders; ``test`` is the Wald test of π = 0.

    Raises
    ------
    ValueError
        Several factors.
    IdentificationError
        Too few levels for the features, or collinear level means, without penalty.

    References
    ----------
    Mundlak (1978), doi:10.2307/1913646.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.absorption import absorb
    >>> from causalkit.rewards.fixed_effects import within_fit
    >>> from causalkit.rewards.level_effects import level_effects
    >>> from causalkit.rewards.records import Factor
    >>> from causalkit.rewards.shrinkage import mundlak_effects
    >>> rng = np.random.default_rng(0)
    >>> codes = np.repeat(np.arange(200), 2)
    >>> alpha = rng.normal(size=200)
    >>> X = rng.normal(size=(400, 1)) + alpha[codes][:, None]
    >>> y = X[:, 0] + alpha[codes] + rng.normal(size=400)
    >>> fit = within_fit(X, y, None, absorb([Factor("author", codes, np.arange(200))]))
    >>> shrunk = mundlak_effects(fit, level_effects(fit, X, y))
    >>> shrunk.test.pvalue < 0.001
    True
    """
    _one_factor(fit.absorption, "mundlak")
    if levels.means is None:
        raise ValueError("levels has no level means: expected what level_effects returns for one factor.")
    weight = levels.weights[0]
    seen = weight > 0
    Z = np.column_stack([np.ones(int(seen.sum())), levels.means[seen]])
    penalty = fit.orthogonal.penalty
    if penalty == 0:
        _refuse_collinear_means(Z, weight[seen], fit.absorption.names[0])
    effects = levels.effects[0][seen]
    between = _between(Z, effects, weight[seen], fit.sigma2, penalty)
    test = _test_slopes(fit, Z, weight[seen], effects - between.fitted, between, np.flatnonzero(seen))
    return _shrink(fit, levels, Z, between, test)


def _refuse_collinear_means(Z: Array, weight: Array, name: str) -> None:
    n_levels, m = Z.shape
    centred = Z[:, 1:] - np.average(Z[:, 1:], axis=0, weights=weight)
    size = np.sqrt(weight @ centred**2)
    unit = centred * np.sqrt(weight)[:, None] / np.where(size > 0, size, 1.0)
    smallest = float(np.linalg.eigvalsh(unit.T @ unit)[0]) if n_levels > m else 0.0
    if smallest < 1e-10:
        raise IdentificationError(
            f"the {n_levels} levels of {name!r} do not identify how their effects go with {m - 1} level means "
            f"(smallest eigenvalue {smallest:.2g}): expected more levels than means, and means that vary. Use "
            'method="mixed", fewer features, or set penalty > 0.'
        )


def _level_scores(fit: WithinFit) -> tuple[Array, Array]:
    """What the rows of each level add to the errors of θ̂ and γ̂, shapes (G, p) and (G, q)."""
    absorption = fit.absorption
    own = fit.residuals if absorption.weight is None else fit.residuals * absorption.weight

    def sums(columns: NDArray[np.floating]) -> Array:
        out = np.empty((absorption.n_levels[0], columns.shape[1]))
        for j in range(columns.shape[1]):
            out[:, j] = np.bincount(absorption.codes[0], weights=columns[:, j] * own, minlength=len(out))
        return out

    theta = sums(fit.residual_features) @ (np.linalg.inv(fit.orthogonal.jacobian) / fit.orthogonal.n)
    return theta, sums(fit.numeric.columns) @ fit.numeric.inverse - theta @ fit.numeric.feature_slopes.T


def _test_slopes(
    fit: WithinFit, Z: Array, weight: Array, residual: Array, between: _Between, seen: NDArray[np.intp]
) -> GroupMeanTest:
    """Wald test of π = 0, scores summed within levels: π̂ is the between less the within coefficient."""
    p, n_levels = len(fit.coef), len(seen)
    # An error of (θ̂, γ̂) moves α̂_g by its product with the level means, and with it the regression on them.
    within = np.hstack(_level_scores(fit))[seen]
    carried = between.bread @ (Z.T @ (Z[:, 1:] * weight[:, None]))
    influence = ((Z * (weight * residual)[:, None]) @ between.bread - within @ carried.T)[:, 1 : p + 1]
    values, vectors = np.linalg.eigh(influence.T @ influence * (n_levels / max(n_levels - 1, 1)))
    kept = values > 1e-12 * values.max()
    if not kept.any():  # exact fit: nothing is left to be explained
        return GroupMeanTest(0.0, 0, 1.0)
    along = vectors[:, kept].T @ between.coef[1 : p + 1]
    statistic, rank = float(np.sum(along**2 / values[kept])), int(kept.sum())
    return GroupMeanTest(statistic, rank, float(stats.chi2.sf(statistic, rank)))
