"""CompositionalPartialCorrelation: which parts of a whole are directly related, with error control."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.composition.covariance import CentredLogs, centre_logs
from causalkit.composition.fitting import (
    FittedPrecision,
    fit_covariance,
    fit_precision,
    resolve_shrinkage,
)
from causalkit.composition.moments import CompositionMoments
from causalkit.composition.network import BLOCKWISE, FittedNetwork
from causalkit.composition.readouts import NetworkReadoutMixin
from causalkit.composition.resolve import choose_test, resample_tests
from causalkit.composition.rows import check_rows
from causalkit.composition.shrinkage import METHODS
from causalkit.composition.streaming import StreamedFitMixin
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError, ShrinkageWarning
from causalkit.inference.result import check_confidence_level
from causalkit.validation import (
    check_choice,
    check_composition,
    check_integer,
)

__all__ = ["CompositionalPartialCorrelation"]

Array = NDArray[np.float64]

_DENSE_LIMIT = 5000


class CompositionalPartialCorrelation(StreamedFitMixin, NetworkReadoutMixin, DocumentedEstimator):
    r"""Partial correlations of the parts of a composition.

    Estimand: with Γ the covariance of centred log-ratios and Γ⁺ its pseudo-inverse,

    .. math:: r_{ij} = -\Gamma^+_{ij}\big/\sqrt{\Gamma^+_{ii}\Gamma^+_{jj}},

    the correlation of :math:`\log(x_i/x_k)` and :math:`\log(x_j/x_k)` given all other log-ratios, the same
    for every reference k. Results describe conditional association of log-ratios; they have no causal
    reading without a further argument.

    Two null hypotheses: ``null="zero"`` is :math:`\Gamma^+_{ij} = 0`, conditional independence of the
    log-ratios; ``null="closure"`` is :math:`r_{ij} = r^0_{ij}`, nothing beyond what closing independent
    amounts produces. With independent amounts and growing n the first is always rejected.

    Parameters
    ----------
    shrinkage : {"auto", "basis", "invariant", "logratio", "ledoit_wolf", "oas"}, float or None, default="auto"
        None is unshrunk. "basis" shrinks log closed proportions to an independent basis (not unit-invariant);
        "invariant" does so from log-ratios alone, whatever the units; "ledoit_wolf" and "oas" shrink to a
        scaled identity in orthonormal coordinates; "logratio" shrinks log-ratio columns, for comparison. A
        float in [0, 1] is "basis" with λ given. "auto" is None when n - q - D + 1 ≥ 5D, else "basis".
    reference : int, str, list or None, default=None
        Reference of "logratio": None the CLR, else a part or the geometric mean of several.
    zero_replacement : None, str or ZeroReplacement, default=None
        Rule for zeros; None refuses them.
    robust : {None, "mcd", "tyler"}, default=None
        Robust covariance of orthonormal coordinates (n > 2D, unshrunk).
    test : {"auto", "t", "fisher", "influence", "shrunk_t", "permutation", "bootstrap"} or None, default="auto"
        "auto": "influence" with groups, "t" unshrunk, "shrunk_t" for "basis" and "invariant", else None.
    null : {"auto", "zero", "closure"}, default="auto"
        "auto": zero for t, fisher, influence and bootstrap; closure for shrunk_t and permutation.
    fdr : {"bh", "by"} or None, default="bh"
        Benjamini-Hochberg or Benjamini-Yekutieli over the D(D-1)/2 pairs.
    confidence_level : float, default=0.95
        Of ``conf_int`` and ``to_frame``.
    n_resamples : int, default=1000
        Permutations or bootstrap samples.
    storage : {"auto", "dense", "factor"}, default="auto"
        "factor" never stores a D×D array: its (D, D) attributes are computed on access. "auto" is "factor"
        when D > 5000.
    n_jobs : int or None, default=None
        Parallel bootstrap samples.
    random_state : int, RandomState, Generator or None, default=None
        None keys the simulated null by (n, D), so that p-values repeat.
    verbose : int, default=0
        1 writes progress of resampling.

    Attributes
    ----------
    partial_correlation_ : ndarray, shape (D, D)
        r, diagonal 1.
    precision_, log_ratio_covariance_ : ndarray, shape (D, D)
        Γ⁺ (of the shrunken matrix where there is shrinkage) and Γ.
    partial_variance_ : ndarray, shape (D,)
        1/Γ⁺_ii, the residual variance of log(x_i/x_k) given the other log-ratios.
    residual_variance_ : ndarray, shape (D,)
        Its unbiased form (unshrunk fits).
    coef_ : ndarray, shape (D, D)
        β of log x_i = a + Σ_j β_ij log x_j, zero diagonal, rows sum to 1.
    r2_ : ndarray, shape (D,)
        R² against the geometric mean of the other parts.
    shrinkage_, shrinkage_variance_ : float
        λ and λ_var (0 unshrunk).
    basis_variance_ : ndarray, shape (D,)
        v of the independent basis behind the closure null.
    closure_null_ : ndarray, shape (D, D)
        r⁰, diagonal 1.
    pvalues_, qvalues_ : ndarray, shape (D, D)
        Symmetric, diagonal 1.
    test_, null_ : str
        Test and null hypothesis that were used.
    dof_ : float
        Degrees of freedom of the test.
    n_effective_ : float
        1/Σw² for weights that sum to 1.
    factor_ : ndarray, shape (n + 1, D)
        F with r_ij = F_i'F_j, when the factored route ran.
    zero_replacement_ : ZeroReplacement
        Fitted rule for zeros.
    n_features_in_, feature_names_in_

    Raises
    ------
    NonFiniteError, NonPositiveError, TooFewPartsError, DegreesOfFreedomError, DegenerateLogRatioError, \
InferenceUnavailableError
        All are ValueError; each names the argument and what to do.

    References
    ----------
    Erb 2020, doi 10.1016/j.acags.2020.100026. Jin, Notredame & Erb, doi 10.57645/20.8080.02.8 (shrinkage and
    closure null). Bernal et al. 2019, doi 10.1093/bioinformatics/btz357 (shrunken t).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import CompositionalPartialCorrelation
    >>> rng = np.random.default_rng(0)
    >>> log_x = rng.normal(size=(200, 6))
    >>> log_x[:, 1] += log_x[:, 0]
    >>> network = CompositionalPartialCorrelation().fit(np.exp(log_x))
    >>> network.to_frame(max_qvalue=0.01)["part_a"].tolist()[0]
    'x0'
    """

    def __init__(
        self,
        *,
        shrinkage: Any = "auto",
        reference: Any = None,
        zero_replacement: Any = None,
        robust: str | None = None,
        test: str | None = "auto",
        null: str = "auto",
        fdr: str | None = "bh",
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
        storage: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.shrinkage = shrinkage
        self.reference = reference
        self.zero_replacement = zero_replacement
        self.robust = robust
        self.test = test
        self.null = null
        self.fdr = fdr
        self.confidence_level = confidence_level
        self.n_resamples = n_resamples
        self.storage = storage
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------ fitting

    def fit(
        self, X: Any, y: Any = None, *, confounders: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> CompositionalPartialCorrelation:
        """Fit to a table of amounts.

        Parameters
        ----------
        X : array-like, shape (n, D), or Dask array
            Positive amounts, one column per part; rows need not be closed. Dask arrays are read in row
            blocks as by :meth:`partial_fit`.
        y : ignored
        confounders : array-like, shape (n, q), optional
            Columns to regress out.
        sample_weight : array-like, shape (n,), optional
            Analysis weights.
        groups : array-like, shape (n,), optional
            Clusters, for the tests "influence" and "bootstrap".

        Returns
        -------
        CompositionalPartialCorrelation
        """
        self._check_parameters()
        if hasattr(X, "dask"):
            return self._fit_blocks(X, confounders, sample_weight, groups)
        rows = check_rows(X, confounders, sample_weight, groups, zeros=self.zero_replacement is not None)
        values, names, rule = self._replace_zeros(rows.table)
        data = centre_logs(np.log(values, order="C"), rows.weight, rows.confounders)
        method, intensity = self._method(data.n_effective, len(names), data.n_confounders)
        fitted = self._fit_precision(data, names, method, intensity, values, rows.weight)
        network = self._make_network(fitted, data, names, method, rows.groups, data.n_effective)
        self._set_fitted(network, X, rule)
        return self

    def _check_parameters(self) -> None:
        if isinstance(self.shrinkage, str):
            check_choice(self.shrinkage, "shrinkage", ("auto", *METHODS))
        elif self.shrinkage is not None:
            number = isinstance(self.shrinkage, int | float | np.number) and not isinstance(self.shrinkage, bool)
            if not number or not 0 <= self.shrinkage <= 1:
                raise ValueError(f"shrinkage must be a method, None, or a number in [0, 1]; got {self.shrinkage!r}.")
        check_choice(self.robust, "robust", (None, "mcd", "tyler"))
        check_choice(
            self.test, "test", ("auto", None, "t", "fisher", "influence", "shrunk_t", "permutation", "bootstrap")
        )
        check_choice(self.null, "null", ("auto", "zero", "closure"))
        check_choice(self.fdr, "fdr", ("bh", "by", None))
        check_choice(self.storage, "storage", ("auto", "dense", "factor"))
        check_confidence_level(self.confidence_level)
        check_integer(self.n_resamples, "n_resamples", low=1)
        if self.reference is not None and self.shrinkage != "logratio":
            raise ValueError('reference is read by shrinkage="logratio" only; partial correlations need none.')

    def _replace_zeros(self, X: Any) -> tuple[Array, list[str], Any]:
        if self.zero_replacement is None:
            values, names = check_composition(X, min_parts=3)
            return values, names, None
        from causalkit.composition.zero_replacement import ZeroReplacement

        rule = self.zero_replacement
        rule = ZeroReplacement(method=rule) if isinstance(rule, str) else clone(rule)
        _, names = check_composition(X, zeros="allow", min_parts=3)
        replaced = rule.fit_transform(X)
        return check_composition(np.asarray(replaced))[0], names, rule

    def _method(self, n_effective: float, d: int, q: int) -> tuple[str, float | None]:
        if self.robust is not None:
            if self.shrinkage not in ("auto", None):
                raise InferenceUnavailableError(
                    f"robust={self.robust!r} cannot be combined with shrinkage={self.shrinkage!r}: use shrinkage=None."
                )
            if n_effective <= 2 * d:
                raise DegreesOfFreedomError(
                    f"robust={self.robust!r} needs more than 2D rows: n = {n_effective:g}, D = {d}. Use fewer parts."
                )
            return "none", None
        return resolve_shrinkage(self.shrinkage, n_effective, d, q)

    def _fit_precision(
        self, data: CentredLogs, names: list[str], method: str, intensity: float | None, values: Array, weight: Any
    ) -> FittedPrecision:
        if self.robust is not None:
            from causalkit.composition.robust import robust_log_ratio_covariance

            if weight is not None or data.n_confounders:
                raise ValueError("robust cannot be combined with sample_weight or confounders.")
            return fit_covariance(robust_log_ratio_covariance(values, self.robust), names)
        return fit_precision(data, names, method, intensity, reference=self.reference)

    def _make_network(
        self,
        fitted: FittedPrecision,
        data: CentredLogs | None,
        names: list[str],
        method: str,
        groups: Any,
        n_effective: float,
        clr_mean: Array | None = None,
    ) -> FittedNetwork:
        if data is not None:
            clr_mean = data.mean - data.mean.mean()
        q = 0 if data is None else data.n_confounders
        plan = choose_test(self, method, fitted, n_effective, len(names), q, groups, data)
        network = FittedNetwork(
            precision=fitted.precision,
            names=names,
            method=method,
            shrunk=fitted.shrunk,
            data=data,
            gamma=fitted.gamma,
            clr_mean=np.asarray(clr_mean),
            null_factor=fitted.null_factor,
            n_effective=n_effective,
            n_confounders=q,
            test=plan.test,
            null=plan.null,
            dof=plan.dof,
            groups=groups,
        )
        self._resolved_storage(len(names), plan.test)
        at_target = fitted.shrunk is not None and fitted.shrunk.intensity >= 1
        if at_target and plan.test in ("shrunk_t", "permutation"):
            warnings.warn(
                "the shrinkage intensity is 1: nothing is left of the data's associations, and all p-values are 1. "
                "Collect more rows or use fewer parts.",
                ShrinkageWarning,
                stacklevel=3,
            )
        return resample_tests(self, network)

    def _resolved_storage(self, d: int, test: str) -> str:
        storage = self.storage if self.storage != "auto" else ("factor" if d > _DENSE_LIMIT else "dense")
        if storage == "factor" and test not in (*BLOCKWISE, "none"):
            raise InferenceUnavailableError(
                f"test={test!r} needs all pairs at once: use storage='dense', or test='shrunk_t' or 't'."
            )
        return storage

    def _set_fitted(self, network: FittedNetwork, X: Any, rule: Any) -> None:
        d = network.n_parts
        storage = self._resolved_storage(d, network.test)
        if storage == "dense" and d > _DENSE_LIMIT:
            warnings.warn(
                f"storage='dense' with D = {d} parts takes {8 * d * d / 2**30:.1f} GB for every (D, D) array: "
                "storage='factor' computes blocks on access.",
                UserWarning,
                stacklevel=3,
            )
        self._network, self._storage = network, storage
        shrunk = network.shrunk
        self.shrinkage_ = 0.0 if shrunk is None else shrunk.intensity
        self.shrinkage_variance_ = 0.0 if shrunk is None else shrunk.variance_intensity
        self.dof_, self.n_effective_ = network.dof, network.n_effective
        self.n_features_in_ = d
        if getattr(X, "columns", None) is not None and all(isinstance(c, str) for c in X.columns):
            self.feature_names_in_ = np.asarray(network.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if rule is not None:
            self.zero_replacement_ = rule
        elif hasattr(self, "zero_replacement_"):
            del self.zero_replacement_
        self._moments: CompositionMoments | None = None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags
