"""What a fitted network offers to read: attributes, intervals and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.composition.covariance import basis_variances, weighted_crossproduct
from causalkit.composition.exports import NetworkExportMixin
from causalkit.composition.independence import ConditionalIndependence, independence_from_covariance, part_index
from causalkit.composition.inference import adjust_pvalues, influence_values
from causalkit.composition.network import FittedNetwork
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError
from causalkit.inference import InferenceResult
from causalkit.inference.result import check_confidence_level
from causalkit.validation import check_column_names, check_composition

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NetworkReadoutMixin"]

Array = NDArray[np.float64]


class NetworkReadoutMixin(NetworkExportMixin):
    """Attributes and read-outs of :class:`CompositionalPartialCorrelation`; nothing here fits."""

    _network: FittedNetwork
    _storage: str
    n_features_in_: int
    n_effective_: float
    shrinkage_: float
    fdr: str | None
    test: str | None
    robust: str | None
    confidence_level: float

    # ------------------------------------------------------------------ attributes

    def _get(self, key: str, compute: Any) -> Any:
        """A (D, D) attribute: computed once with dense storage, on every access with a factor."""
        if not hasattr(self, "_network"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet: call fit first.")
        if self._storage == "factor":
            return compute()
        cache = self._network.cache
        if key not in cache:
            cache[key] = compute()
        return cache[key]

    @property
    def partial_correlation_(self) -> Array:
        """Partial correlations r, shape (D, D), diagonal 1."""
        return self._get(
            "r",
            lambda: self._network.precision.correlations(slice(0, self.n_features_in_), slice(0, self.n_features_in_)),
        )

    @property
    def precision_(self) -> Array:
        """Γ⁺, shape (D, D)."""
        return self._get("precision", lambda: self._network.precision.matrix())

    @property
    def log_ratio_covariance_(self) -> Array:
        """Γ of the data, shape (D, D)."""

        def compute() -> Array:
            network = self._network
            if network.gamma is not None:
                return network.gamma
            if network.data is None:
                return network.cache["gamma"]
            return weighted_crossproduct(network.data, network.data.clr)

        return self._get("gamma", compute)

    @property
    def partial_variance_(self) -> Array:
        """1/Γ⁺_ii, shape (D,)."""
        return self._get("pv", lambda: 1.0 / self._network.precision.diagonal)

    @property
    def residual_variance_(self) -> Array:
        """Unbiased residual variance (n-1-q)/(n-D+1-q)·pv of unshrunk fits, shape (D,)."""
        network = getattr(self, "_network", None)
        if network is not None and network.shrunk is not None:
            raise AttributeError("residual_variance_ exists for unshrunk fits only: shrinkage biases the variance.")
        n, d, q = self.n_effective_, self.n_features_in_, self._network.n_confounders
        return (n - 1 - q) / (n - d + 1 - q) * self.partial_variance_

    @property
    def coef_(self) -> Array:
        """Log-contrast coefficients β_ij = -Γ⁺_ij/Γ⁺_ii, zero diagonal, rows sum to 1, shape (D, D)."""

        def compute() -> Array:
            matrix = self.precision_
            beta = -matrix / np.diag(matrix)[:, None]
            np.fill_diagonal(beta, 0.0)
            return np.asarray(beta)

        return self._get("coef", compute)

    @property
    def r2_(self) -> Array:
        """R² against the geometric mean of the other parts, 1 - ((D-1)/D)²pv_i/γ_ii, shape (D,)."""
        d = self.n_features_in_
        return 1 - ((d - 1) / d) ** 2 * self.partial_variance_ / self._model_variance()

    def _model_variance(self) -> Array:
        """Diagonal of the Γ whose pseudo-inverse was taken, in O(nD)."""
        shrunk = self._network.shrunk
        if shrunk is None:
            return np.diag(self.log_ratio_covariance_)
        lam, s, z = shrunk.intensity, shrunk.scale, shrunk.rows
        variance = s * s * ((1 - lam) * np.einsum("ij,ij->j", z, z) + lam)
        if not shrunk.projected:
            return np.asarray(variance)
        row = s * ((1 - lam) * (z.T @ (z @ s)) + lam * s)  # M1
        d = len(s)
        return np.asarray(variance - 2 * row / d + row.sum() / d**2)

    @property
    def basis_variance_(self) -> Array:
        """Variances of the independent basis behind the closure null, shape (D,)."""
        network = self._network
        if network.shrunk is not None:
            return network.shrunk.variances
        return basis_variances(np.diag(self.log_ratio_covariance_))

    @property
    def closure_null_(self) -> Array:
        """r⁰, shape (D, D), diagonal 1."""

        def compute() -> Array:
            out = np.outer(self._network.null_factor, self._network.null_factor)
            np.fill_diagonal(out, 1.0)
            return np.asarray(out)

        return self._get("closure", compute)

    @property
    def factor_(self) -> Array:
        """F with r_ij = F_i'F_j, shape (n + 1, D), when the factored route ran."""
        factor = getattr(self._network.precision, "factor", None) if hasattr(self, "_network") else None
        if factor is None:
            raise AttributeError("factor_ exists when the factored route ran: shrinkage with fewer rows than parts.")
        return factor

    @property
    def test_(self) -> str | None:
        """Test behind the p-values; None where there is none."""
        return None if self._network.test == "none" else self._network.test

    @property
    def null_(self) -> str:
        """Null hypothesis of the p-values, "zero" or "closure"."""
        return self._network.null

    @property
    def pvalues_(self) -> Array:
        """Two-sided p-values, shape (D, D), diagonal 1."""
        self._require_test()

        def compute() -> Array:
            network = self._network
            if network.stored_pvalues is not None:
                return network.stored_pvalues
            r = self.partial_correlation_
            if network.test == "influence":
                tests = network.influence_tests(r)[0]
            else:
                everything = slice(0, network.n_parts)
                with np.errstate(divide="ignore", invalid="ignore"):
                    tests = network.pair_tests(r, network.closure_block(everything, everything))
            values = tests.pvalue
            np.fill_diagonal(values, 1.0)
            return values

        return self._get("pvalues", compute)

    @property
    def qvalues_(self) -> Array:
        """False-discovery adjusted p-values, shape (D, D), diagonal 1."""
        return self._get("qvalues", lambda: adjust_pvalues(self.pvalues_, self.fdr))

    def _require_test(self) -> None:
        network = getattr(self, "_network", None)
        if network is None:
            raise AttributeError(f"{type(self).__name__} is not fitted yet: call fit first.")
        if network.test == "none":
            raise AttributeError(
                f"there are no p-values for shrinkage={network.method!r} with test={self.test!r}: use shrinkage=None "
                "with test='t', shrinkage='basis' or 'invariant' with test='shrunk_t', or test='bootstrap'."
            )

    # ------------------------------------------------------------------ inference

    def conf_int(self, confidence_level: float | None = None) -> tuple[Array, Array]:
        """Confidence intervals of all partial correlations.

        Fisher's interval for "t" and "fisher", influence standard errors on the Fisher scale for
        "influence", percentiles for "bootstrap" (of the shrunken target where there is shrinkage).

        Parameters
        ----------
        confidence_level : float, optional
            Default the constructor's.

        Returns
        -------
        lower, upper : ndarray, shape (D, D)
            Diagonal 1.

        Raises
        ------
        InferenceUnavailableError
            For a shrunken fit without the bootstrap.
        DegreesOfFreedomError
            When n - D - q is not positive.
        """
        check_is_fitted(self)
        level = check_confidence_level(self.confidence_level if confidence_level is None else confidence_level)
        return self._network.interval(self.partial_correlation_, level, self.robust)

    def inference(self, pairs: Any) -> InferenceResult:
        """Estimates of chosen pairs with influence values, for contrasts and joint intervals.

        Parameters
        ----------
        pairs : sequence of (part, part)
            Names or positions.

        Returns
        -------
        InferenceResult
            Covariance from IF_ij = u_iu_j + ½r_ij(u_i² + u_j²), clustered with ``groups``, inflated by n/(n-D).

        Raises
        ------
        InferenceUnavailableError
            For shrunken or robust fits.
        """
        check_is_fitted(self)
        network = self._network
        if network.shrunk is not None or self.robust is not None or network.data is None:
            raise InferenceUnavailableError(
                "influence values are those of an unshrunk fit in memory: use shrinkage=None, robust=None and fit."
            )
        if network.n_effective <= network.n_parts + network.n_confounders:
            raise DegreesOfFreedomError("influence standard errors need n > D + q rows.")
        index = [(part_index(a, network.names), part_index(b, network.names)) for a, b in pairs]
        if not index or any(i == j for i, j in index):
            raise ValueError("pairs must hold at least one pair of two different parts, such as [('a', 'b')].")
        images, r, n = network.images(), self.partial_correlation_, len(network.data.weight)
        columns = np.column_stack([influence_values(images, r[i, j], i, j) for i, j in index])
        columns *= (network.data.weight * n)[:, None] * network.influence_inflation
        return InferenceResult.from_influence(
            np.array([r[i, j] for i, j in index]),
            columns,
            names=[f"{network.names[i]} | {network.names[j]}" for i, j in index],
            groups=network.groups,
        )

    def r_squared(self, reference: Any) -> pd.Series:
        """R² of every other log-ratio to a reference part, 1 - pv_i/τ_ik.

        Parameters
        ----------
        reference : str or int
            Part k.

        Returns
        -------
        Series of length D - 1, indexed by part.
        """
        import pandas as pd

        check_is_fitted(self)
        network = self._network
        if network.shrunk is not None:
            raise InferenceUnavailableError("r_squared by reference is defined for unshrunk fits: use shrinkage=None.")
        k = part_index(reference, network.names)
        gamma = self.log_ratio_covariance_
        tau = np.diag(gamma) + gamma[k, k] - 2 * gamma[k]
        keep = np.arange(network.n_parts) != k
        labels = [name for name, kept in zip(network.names, keep, strict=True) if kept]
        return pd.Series(
            1 - self.partial_variance_[keep] / tau[keep], index=labels, name=f"R² of log-ratios to {network.names[k]}"
        )

    def ci_test(self, i: Any, j: Any, given: Any) -> ConditionalIndependence:
        """Test whether parts i and j are related given others, in the subcomposition of these parts.

        See :func:`compositional_ci_test`; one query costs O(\\|S\\|³) from the stored Γ.

        Parameters
        ----------
        i, j : str or int
        given : sequence of str or int
        """
        check_is_fitted(self)
        network = self._network

        def block(index: NDArray[np.intp]) -> Array:
            if network.data is not None and network.gamma is None:
                return weighted_crossproduct(network.data, network.data.clr[:, index])
            return self.log_ratio_covariance_[np.ix_(index, index)]

        return independence_from_covariance(
            block, network.names, i, j, given, network.n_effective, network.n_confounders
        )

    def score(self, X: Any, y: Any = None) -> float:
        """Mean Gaussian log-density of the rows in orthonormal log-ratio coordinates.

        Parameters
        ----------
        X : array-like, shape (n, D)
            Positive amounts; zeros are replaced by the fitted rule.
        y : ignored
        """
        check_is_fitted(self)
        network = self._network
        values, _ = check_composition(X, zeros="allow" if hasattr(self, "zero_replacement_") else "refuse")
        check_column_names(X, "X")
        validate_data(self, X, reset=False, skip_check_array=True)
        if hasattr(self, "zero_replacement_"):
            values, _ = check_composition(np.asarray(self.zero_replacement_.transform(X)))
        logs = np.log(values, order="C")
        c = logs - logs.mean(axis=1, keepdims=True) - network.clr_mean
        constant = (network.n_parts - 1) * np.log(2 * np.pi) - network.precision.log_pseudo_determinant
        return float(-0.5 * (constant + network.precision.quadratic(c).mean()))
