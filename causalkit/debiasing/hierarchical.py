"""HierarchicalCalibration: one line per site, shrunk towards the sites' distribution, with transport to new sites."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import CellBasis
from causalkit.debiasing.calibration_lines import CalibrationLines, check_lines, fit_lines
from causalkit.debiasing.calibration_sample import CalibrationSample, check_calibration_sample
from causalkit.debiasing.correction import CorrectionMixin
from causalkit.debiasing.fitted import FittedCorrection, square_root_rows
from causalkit.debiasing.site_distribution import RandomEffects, SiteDistribution, dersimonian_laird, shrink
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import CalibrationError, CalibrationWarning
from causalkit.validation import check_choice, check_groups, check_integer

__all__ = ["HierarchicalCalibration", "site_lines"]

Array = NDArray[np.float64]

_MINIMUM_SITE_ROWS = 5


class HierarchicalCalibration(CorrectionMixin, DocumentedEstimator):
    r"""Linear calibration by site (country, centre, year) with partial pooling.

    Estimand: a mean, contrast or regression of the true outcome Y in sites with a calibration sample, or
    in a new site. In each site :math:`\hat\theta_s = (\hat m_s, \hat k_s)` comes from the regression of Ŷ
    on Y; the sites are draws of a population,

    .. math:: \hat\theta_s\mid\theta_s \sim N(\theta_s, V_s),\qquad
              \theta_s \sim N(\mu, \mathrm{diag}(\tau_m^2, \tau_k^2)),

    and the correction :math:`(\hat y - \tilde m_s)/\tilde k_s` uses the shrunk lines. A new site gets μ, and
    its effects carry the **transport** variance of not knowing the site's own slope. Shrinking mends
    slopes, not levels: the mean of a site needs labels in that site. Outcome: corrected map; covariate:
    raw map.

    Assumptions: those of :class:`LinearCalibration` in every site; sites exchangeable.

    Parameters
    ----------
    method : {"empirical_bayes", "nuts", "svi"}, default="empirical_bayes"
        Closed form (DerSimonian-Laird moments, Morris' variance), or the posterior by Pyro: the no-U-turn
        sampler, or variational inference with a full-rank normal guide. Priors on the scale of sd(y):
        μ_m ~ N(0, 1), μ_k ~ N(.5, .5), τ_m ~ HalfNormal(.5), τ_k ~ HalfNormal(.25).
    cov_type : {"HC0", "HC1"}, default="HC1"
        Covariance of each site's line.
    weight_type : {"probability", "frequency"}, default="probability"
        What sample weights mean.
    num_samples, warmup_steps, n_chains : int, default=1000, 500, 2
        Posterior draws (per chain), warm-up and chains of Pyro.
    device : str, default=None
        Torch device of Pyro, such as "cuda"; None is the CPU.
    random_state : int or None, default=None
        Seed of Pyro.
    verbose : int, default=0
        1 shows Pyro's progress.

    Attributes
    ----------
    sites_ : ndarray, shape (S,)
        Sites whose line could be estimated.
    centre_ : float
        Pooled mean of y, at which the intercepts m below are taken.
    site_coef_, site_cov_ : ndarray, shape (S, 2), (S, 2, 2)
        (m, k) of each site and covariance.
    shrunk_coef_, shrunk_cov_ : ndarray, shape (S, 2), (S, 2, 2)
        The same after pooling.
    mean_, mean_cov_ : ndarray, shape (2,), (2, 2)
        μ and its covariance.
    tau_, i_squared_ : ndarray, shape (2,)
        Standard deviation over sites, and share of the spread that is not noise.
    prediction_interval_ : ndarray, shape (2, 2)
        95 % interval of (m, k) in a new site, rows m and k, columns lower and upper.
    posterior_ : ndarray, shape (D, S, 2)
        Draws of (m, k) (Pyro methods).
    r_hat_ : dict
        Gelman-Rubin statistic by parameter (method "nuts").
    coef_, coef_cov_ : ndarray, shape (2S,), (2S, 2S)
        θ of g on the columns (1, ŷ) of each site.
    coef_influence_ : None
        The pooled variance is not a sum over rows.
    slope_, intercept_, berkson_slope_, r_squared_, n_calibration_, support_
        Of the linear calibration of all rows pooled.

    Raises
    ------
    CalibrationError
        Fewer than three usable sites: heterogeneity is not estimable.
    ImportError
        A Pyro method without the extra ``bayes``.

    References
    ----------
    DerSimonian & Laird 1986; Morris 1983 (empirical-Bayes variance); Higgins, Thompson & Spiegelhalter
    2009 (prediction interval with t on S - 2 degrees of freedom).

    Examples
    --------
    >>> from causalkit import HierarchicalCalibration
    >>> from causalkit.datasets import make_site_map
    >>> data = make_site_map(random_state=0)
    >>> calibration = HierarchicalCalibration().fit(
    ...     data.calibration_predictions, data.calibration_y, sites=data.calibration_sites)
    >>> calibration.shrunk_coef_.shape
    (20, 2)
    """

    def __init__(
        self,
        *,
        method: str = "empirical_bayes",
        cov_type: str = "HC1",
        weight_type: str = "probability",
        num_samples: int = 1000,
        warmup_steps: int = 500,
        n_chains: int = 2,
        device: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.cov_type = cov_type
        self.weight_type = weight_type
        self.num_samples = num_samples
        self.warmup_steps = warmup_steps
        self.n_chains = n_chains
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self, predictions: Any, y: Any, *, sites: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> HierarchicalCalibration:
        """Fit on a calibration sample from several sites.

        Parameters
        ----------
        predictions : array-like, shape (n_c,) or (n_c, 1)
            Predictions Ŷ, out of sample for the model.
        y : array-like, shape (n_c,)
            Truth Y.
        sites : array-like, shape (n_c,)
            Site of each row.
        sample_weight, groups : array-like, shape (n_c,), optional
            Weights of the kind ``weight_type``, and clusters within sites.

        Returns
        -------
        HierarchicalCalibration
        """
        self._check_options()
        check_choice(self.method, "method", ("empirical_bayes", "nuts", "svi"))
        for name in ("num_samples", "warmup_steps", "n_chains"):
            check_integer(getattr(self, name), name, low=1)
        sample = check_calibration_sample(
            predictions, y, sample_weight=sample_weight, groups=groups, weight_type=self.weight_type
        )
        if sites is None:
            raise ValueError("sites is missing: HierarchicalCalibration needs the site of each calibration row.")
        cells = check_groups(sites, sample.n, name="sites", like="predictions")
        lines = fit_lines(sample, self.cov_type)
        check_lines(lines)
        labels, coef, cov, centre = site_lines(sample, cells, self.cov_type)
        effects = dersimonian_laird(coef, cov)
        distribution, effects, extras = self._pool(labels, coef, cov, centre, effects, float(sample.y.std()))
        slopes = distribution.coef[:, 1]
        if not (slopes > 0).all():
            raise CalibrationError(
                f"the shrunk slope of predictions on y is {slopes.min():.3g} in a site: predictions do not increase "
                "with y: check units, sign and row order in that site."
            )
        support = sample.support
        fitted = _fitted_for(distribution, np.arange(len(labels)), lines, sample, support)
        self._store(fitted, predictions, sample.n_rows)
        self._set_site_attributes(distribution, effects, coef, cov)
        for name in ("posterior_", "r_hat_"):
            if name in extras:
                setattr(self, name, extras[name])
            elif hasattr(self, name):
                delattr(self, name)
        self._distribution, self._lines, self._sample = distribution, lines, sample
        self._site_codes = cells
        return self

    def fit_transform(self, predictions: Any, y: Any = None, *, sites: Any = None, **fit_params: Any) -> Array:
        """Fit, then correct the calibration rows themselves, each with the line of its own site.

        Parameters
        ----------
        predictions, y, sites
            As in :meth:`fit`.
        **fit_params
            ``sample_weight`` and ``groups`` of :meth:`fit`.

        Returns
        -------
        ndarray
            In the shape of ``predictions``.
        """
        return self.fit(predictions, y, sites=sites, **fit_params).transform(predictions, sites=sites)

    def _pool(
        self, labels: NDArray[Any], coef: Array, cov: Array, centre: float, effects: RandomEffects, unit: float
    ) -> tuple[SiteDistribution, RandomEffects, dict[str, Any]]:
        n_sites = len(labels)
        if self.method == "empirical_bayes":
            shrunk, joint = shrink(coef, cov, effects)
            rows = square_root_rows(joint).reshape(-1, n_sites + 1, 2)
            return SiteDistribution(labels, centre, shrunk, rows, effects.tau**2, n_sites), effects, {}
        from causalkit.debiasing.hierarchical_posterior import sample_posterior

        posterior = sample_posterior(
            coef,
            cov,
            unit=unit,
            method=self.method,
            num_samples=self.num_samples,
            warmup_steps=self.warmup_steps,
            n_chains=self.n_chains,
            device=self.device,
            random_state=self.random_state,
            verbose=self.verbose,
        )
        draws = np.concatenate([posterior.sites, posterior.mean[:, None, :]], axis=1)
        centred = draws - draws.mean(axis=0)
        spread = (posterior.tau**2).mean(axis=0)
        distribution = SiteDistribution(
            labels, centre, draws.mean(axis=0), centred / np.sqrt(len(draws) - 1), spread, n_sites, draws
        )
        updated = replace(
            effects,
            mean=posterior.mean.mean(axis=0),
            mean_cov=np.cov(posterior.mean.T),
            tau=posterior.tau.mean(axis=0),
        )
        return distribution, updated, {"posterior_": posterior.sites, "r_hat_": posterior.r_hat}

    def _set_site_attributes(
        self, distribution: SiteDistribution, effects: RandomEffects, coef: Array, cov: Array
    ) -> None:
        from scipy import stats

        n_sites = distribution.n_sites
        self.sites_, self.centre_ = distribution.labels, distribution.centre
        self.site_coef_, self.site_cov_ = coef, cov
        self.shrunk_coef_ = distribution.coef[:-1]
        rows = distribution.rows[:, :-1]
        self.shrunk_cov_ = np.einsum("rsi,rsj->sij", rows, rows)
        self.mean_, self.mean_cov_ = effects.mean, effects.mean_cov
        self.tau_, self.i_squared_ = effects.tau, effects.i_squared
        half = stats.t(n_sites - 2).ppf(0.975) * np.sqrt(np.diag(effects.mean_cov) + distribution.spread)
        self.prediction_interval_ = np.column_stack([effects.mean - half, effects.mean + half])

    def _for_trial(self, n: int, treatment: Any, sites: Any) -> tuple[FittedCorrection, NDArray[np.intp] | None]:
        import pandas as pd

        distribution = self._distribution
        if sites is None:
            warnings.warn(
                "sites is not given: the rows are taken to lie in one new site; new-site distribution used: transport "
                "variance included.",
                CalibrationWarning,
                stacklevel=3,
            )
            picked, cells = np.array([distribution.n_sites]), np.zeros(n, dtype=np.intp)
        else:
            groups = check_groups(sites, n, name="sites", like="predictions")
            if groups is None:
                raise ValueError("sites is missing.")
            position = pd.Index(distribution.labels).get_indexer(pd.Index(groups.labels))
            unknown = groups.labels[position < 0]
            if len(unknown):
                warnings.warn(
                    f"sites without an own calibration: {unknown[:10].tolist()}: new-site distribution used: transport "
                    "variance included.",
                    CalibrationWarning,
                    stacklevel=3,
                )
            picked, cells = np.where(position < 0, distribution.n_sites, position), groups.codes
        return _fitted_for(distribution, picked, self._lines, self._sample, self.support_), cells

    def _refit(self, sample: CalibrationSample) -> FittedCorrection:
        raise ValueError(
            "n_bootstrap is not available for HierarchicalCalibration: its variance comes from the pooled model."
        )


def _fitted_for(
    distribution: SiteDistribution,
    picked: NDArray[np.intp],
    lines: CalibrationLines,
    sample: CalibrationSample,
    support: tuple[float, float],
) -> FittedCorrection:
    """The correction for trial cells with these lines; the last line of the distribution is a new site's."""
    theta, noise, jacobian = distribution.corrections(picked)
    n_cells, new = len(picked), picked == distribution.n_sites
    transport = transport_slope = None
    if new.any():
        root = np.diag(np.sqrt(distribution.spread))
        moved = np.zeros((2 * int(new.sum()), n_cells, 2))
        for index, cell in enumerate(np.flatnonzero(new)):  # every new site has its own draw
            moved[2 * index : 2 * index + 2, cell] = root @ jacobian[cell].T
        transport_slope = root[:, 1] if n_cells == 1 else None
        transport = moved.reshape(len(moved), -1)
    single = n_cells == 1
    return FittedCorrection(
        basis=CellBasis(n_cells),
        coef=theta.ravel(),
        noise=noise.reshape(len(noise), -1),
        groups=None,
        lines=lines,
        line_noise=np.asarray(lines.contributions),
        line_groups=sample.groups,
        has_rows=False,
        support=support,
        df=float(distribution.n_sites - 2) if new.any() else None,
        slope=float(distribution.coef[picked[0], 1]) if single else None,
        slope_noise=distribution.rows[:, picked[0], 1]
        if single and distribution.draws is None
        else _slope_rows(distribution, picked),
        transport_noise=transport,
        transport_slope_noise=transport_slope,
        sample=sample,
    )


def _slope_rows(distribution: SiteDistribution, picked: NDArray[np.intp]) -> Array | None:
    """Slope noise on the rows of the coefficient noise; posterior draws carry the factor of Rubin's rule."""
    if len(picked) != 1:
        return None
    n = len(distribution.rows)
    return np.asarray(distribution.rows[:, picked[0], 1] * math.sqrt(1 + 1 / n))


def site_lines(sample: CalibrationSample, cells: Any, cov_type: str) -> tuple[NDArray[Any], Array, Array, float]:
    """Lines (m, k) of each usable site with y centred at the pooled mean.

    Returns
    -------
    labels : ndarray, shape (S,)
    coef : ndarray, shape (S, 2)
    cov : ndarray, shape (S, 2, 2)
    centre : float
        The pooled mean of y.
    """
    centre = float(np.average(sample.y, weights=sample.weight))
    labels, coef, cov, dropped = [], [], [], []
    order = (
        np.argsort(cells.labels.astype(str), kind="stable")
        if cells.labels.dtype == object
        else np.argsort(cells.labels)
    )
    for code in order:
        part = sample.take(cells.codes == code)
        if sample.weight is not None:
            part = part.take(np.asarray(part.weight) > 0)
        if part.n < _MINIMUM_SITE_ROWS or np.ptp(part.y) == 0 or np.ptp(part.predictions) == 0:
            dropped.append(cells.labels[code].item() if hasattr(cells.labels[code], "item") else cells.labels[code])
            continue
        if part.groups is not None and part.groups.n_groups < 3:
            part = replace(part, groups=None)  # a site of one or two clusters says nothing of its own dependence
        fit = fit_lines(replace(part, y=part.y - centre), cov_type)
        labels.append(cells.labels[code])
        coef.append([fit.intercept, fit.slope])
        cov.append(fit.cov[:2, :2])
    if dropped:
        warnings.warn(
            f"sites with fewer than {_MINIMUM_SITE_ROWS} rows or a constant column: "
            f"{np.asarray(dropped[:10]).tolist()}: the pooled distribution is used for them.",
            CalibrationWarning,
            stacklevel=3,
        )
    if len(labels) < 3:
        raise CalibrationError(
            f"{len(labels)} usable sites: heterogeneity is not estimable below 3. Use LinearCalibration with groups."
        )
    return np.asarray(labels), np.array(coef), np.array(cov), centre
