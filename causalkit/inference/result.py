"""InferenceResult: estimates with their joint uncertainty, and arithmetic that keeps it right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causalkit.inference.covariance import influence_covariance
from causalkit.validation import Groups

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InferenceResult", "check_confidence_level"]

Array = NDArray[np.float64]

# Fixed draws make a joint band a function of the result alone; 1e5 leave an error of about .005.
_JOINT_DRAWS = 100_000
_JOINT_SEED = 20_240_501


def check_confidence_level(level: float) -> float:
    """Check a confidence level strictly between 0 and 1."""
    if not (isinstance(level, int | float | np.floating) and 0 < level < 1):
        raise ValueError(f"confidence_level must lie strictly between 0 and 1, such as 0.95; got {level!r}.")
    return float(level)


@dataclass(frozen=True, eq=False, kw_only=True)
class InferenceResult:
    r"""Estimates with influence values, and the inference that follows from them.

    The estimator is asymptotically linear, :math:`\hat\theta - \theta \approx N^{-1}\sum_i \psi_i`, and its
    covariance is :math:`\hat V = N^{-2}\sum_g (\sum_{i\in g}\psi_i)(\sum_{i\in g}\psi_i)'` over clusters g
    (single rows without groups). Finite-sample factors are already inside the influence values.

    Parameters
    ----------
    estimate : ndarray, shape (q,)
        Point estimates.
    cov : ndarray, shape (q, q)
        Covariance of the estimates.
    names : tuple of str, length q
        What each estimate is.
    n_obs : int
        Rows that were used for the estimate.
    influence_values : ndarray, shape (N, q), optional
        Influence values of every row that carries noise. N exceeds ``n_obs`` where a second sample,
        such as a calibration sample, adds to the noise.
    groups : ndarray of int, shape (N,), optional
        Cluster of each row of ``influence_values``.
    df : float, optional
        Degrees of freedom of the t reference; None for the normal.
    dependence : str, default="independent rows"
        How dependence between rows was treated, in words.
    sample : object, optional
        Token of the rows behind the result. Results that share it may be added to one another.

    Notes
    -----
    ``a + b``, ``a - b`` and ``a * b`` of two results need both to come from the same rows (the same
    ``sample`` token), because otherwise their covariance is unknown. :meth:`concatenate` joins results
    of independent samples; a contrast of the joined result is then the difference that is wanted.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.inference import InferenceResult
    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> mean = InferenceResult.from_influence([y.mean()], (y - y.mean())[:, None], names=["mean"])
    >>> float(mean.std_error[0] * 2)
    1.8708286933869707
    >>> (mean - 3).pvalue()["mean"].item()
    1.0
    """

    estimate: Array
    cov: Array
    names: tuple[str, ...]
    n_obs: int
    influence_values: Array | None = field(default=None, repr=False)
    groups: NDArray[np.intp] | None = field(default=None, repr=False)
    df: float | None = None
    dependence: str = "independent rows"
    sample: object = field(default=None, repr=False)

    def __post_init__(self) -> None:
        estimate = np.atleast_1d(np.asarray(self.estimate, dtype=float))
        cov = np.atleast_2d(np.asarray(self.cov, dtype=float))
        if cov.shape != (len(estimate), len(estimate)) or len(self.names) != len(estimate):
            raise ValueError(
                f"estimate has {len(estimate)} entries, but cov has shape {cov.shape} and names has "
                f"{len(self.names)}: expected one name per entry and a square covariance."
            )
        object.__setattr__(self, "estimate", estimate)
        object.__setattr__(self, "cov", cov)
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        if self.sample is None:
            object.__setattr__(self, "sample", object())

    # ------------------------------------------------------------------ construction

    @classmethod
    def from_influence(
        cls,
        estimate: ArrayLike,
        influence_values: Array,
        *,
        names: list[str] | tuple[str, ...],
        groups: Groups | None = None,
        n_obs: int | None = None,
        df: float | None = None,
        sample: object = None,
    ) -> InferenceResult:
        """Build a result whose covariance is that of its influence values.

        With ``groups`` the covariance is clustered and ``df`` defaults to G - 1.
        """
        influence_values = np.asarray(influence_values, dtype=float)
        if groups is not None and df is None:
            df = groups.n_groups - 1
        return InferenceResult(
            estimate=np.asarray(estimate, dtype=float),
            cov=influence_covariance(influence_values, groups=groups),
            names=tuple(names),
            n_obs=influence_values.shape[0] if n_obs is None else n_obs,
            influence_values=influence_values,
            groups=None if groups is None else groups.codes,
            df=df,
            dependence="independent rows" if groups is None else f"{groups.n_groups} clusters",
            sample=sample,
        )

    @staticmethod
    def concatenate(results: list[InferenceResult]) -> InferenceResult:
        """Join results of independent samples; their covariance is block diagonal.

        Parameters
        ----------
        results : list of InferenceResult
            Results that share no rows.

        Returns
        -------
        InferenceResult
            All estimates in order, without influence values.

        Raises
        ------
        ValueError
            If two of them share their rows: then they are not independent.
        """
        if len({id(r.sample) for r in results}) < len(results):
            raise ValueError("results share their rows, so they are not independent: use contrast, + or - instead.")
        from scipy.linalg import block_diag

        freedoms = [r.df for r in results if r.df is not None]
        return InferenceResult(
            estimate=np.concatenate([r.estimate for r in results]),
            cov=block_diag(*[r.cov for r in results]),
            names=tuple(name for r in results for name in r.names),
            n_obs=sum(r.n_obs for r in results),
            df=min(freedoms) if freedoms else None,
            dependence="independent samples",
        )

    # ------------------------------------------------------------------ inference

    @property
    def std_error(self) -> Array:
        """Standard errors, shape (q,)."""
        return np.sqrt(np.maximum(np.diag(self.cov), 0.0))

    def _critical_value(self, confidence_level: float, joint: bool) -> float:
        from scipy import stats

        level = check_confidence_level(confidence_level)
        reference = stats.norm if self.df is None else stats.t(self.df)
        if not joint or len(self.estimate) == 1:
            return float(reference.ppf(0.5 + level / 2))
        # With normal multipliers the bootstrap distribution of the studentised influence sums, given the
        # data, is exactly N(0, correlation): it is drawn directly (test_joint_band_equals_multiplier_bootstrap).
        se = self.std_error
        scale = np.where(se > 0, se, 1.0)
        values, vectors = np.linalg.eigh(self.cov / np.outer(scale, scale))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        rng = np.random.default_rng(_JOINT_SEED)
        largest = np.abs(rng.standard_normal((_JOINT_DRAWS, len(se))) @ root.T).max(axis=1)
        if self.df is not None:
            largest = largest / np.sqrt(rng.chisquare(self.df, _JOINT_DRAWS) / self.df)
        return float(np.quantile(largest, level))

    def conf_int(self, confidence_level: float = 0.95, joint: bool = False) -> pd.DataFrame:
        """Confidence intervals, one row per estimate with columns ``lower`` and ``upper``.

        Parameters
        ----------
        confidence_level : float, default=0.95
            Coverage of each interval, or of all together with ``joint``.
        joint : bool, default=False
            Simultaneous band from the max-t multiplier bootstrap.

        Returns
        -------
        DataFrame
        """
        import pandas as pd

        half = self._critical_value(confidence_level, joint) * self.std_error
        return pd.DataFrame({"lower": self.estimate - half, "upper": self.estimate + half}, index=list(self.names))

    def pvalue(self, null: ArrayLike = 0.0) -> pd.Series:
        """Two-sided p-values of the hypotheses estimate = null, one per estimate.

        Parameters
        ----------
        null : float or array-like, shape (q,), default=0
            Hypothetical values.

        Returns
        -------
        Series
        """
        import pandas as pd
        from scipy import stats

        reference = stats.norm if self.df is None else stats.t(self.df)
        distance = np.abs(self.estimate - np.asarray(null, dtype=float))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(distance == 0, 0.0, distance / self.std_error)
        return pd.Series(2 * reference.sf(statistic), index=list(self.names), name="pvalue")

    # ------------------------------------------------------------------ arithmetic

    def _derive(
        self, estimate: Array, jacobian: Array, names: tuple[str, ...], influence: Array | None = None
    ) -> InferenceResult:
        if influence is None and self.influence_values is not None:
            influence = self.influence_values @ jacobian.T
        return InferenceResult(
            estimate=estimate,
            cov=jacobian @ self.cov @ jacobian.T,
            names=names,
            n_obs=self.n_obs,
            influence_values=influence,
            groups=self.groups,
            df=self.df,
            dependence=self.dependence,
            sample=self.sample,
        )

    def contrast(self, matrix: ArrayLike, names: list[str] | None = None) -> InferenceResult:
        """Linear combinations ``matrix @ estimate``.

        Parameters
        ----------
        matrix : array-like, shape (r, q) or (q,)
            One row per combination.
        names : list of str, length r, optional
            Names of the combinations; default spells them out.

        Returns
        -------
        InferenceResult
        """
        rows = np.atleast_2d(np.asarray(matrix, dtype=float))
        if rows.shape[1] != len(self.estimate):
            raise ValueError(f"matrix has {rows.shape[1]} columns, expected one per estimate: {len(self.estimate)}.")
        if names is None:
            names = [
                " ".join(f"{w:+g}*{name}" for w, name in zip(row, self.names, strict=True) if w) or "0" for row in rows
            ]
        return self._derive(rows @ self.estimate, rows, tuple(names))

    def _combine(self, other: InferenceResult, symbol: str) -> InferenceResult:
        if self.sample is not other.sample:
            raise ValueError(
                f"cannot form a {symbol} b: the two results do not come from the same rows of one fit, so their "
                "covariance is unknown. For independent samples use InferenceResult.concatenate([a, b]) and a contrast."
            )
        if self.influence_values is None or other.influence_values is None:
            raise ValueError(f"cannot form a {symbol} b: a result without influence values has no joint covariance.")
        sizes = len(self.influence_values), len(other.influence_values)
        codes = [np.zeros(0, dtype=int) if r.groups is None else r.groups for r in (self, other)]
        if sizes[0] != sizes[1] or not np.array_equal(codes[0], codes[1]):
            raise ValueError(
                f"cannot form a {symbol} b: the influence values are of {sizes[0]} and {sizes[1]} rows, or their rows "
                "are clustered differently. Use results of one fit with the same groups."
            )
        if len(self.estimate) != len(other.estimate):
            raise ValueError(f"cannot form a {symbol} b of {len(self.estimate)} and {len(other.estimate)} estimates.")
        groups = None if self.groups is None else Groups(self.groups, np.arange(int(self.groups.max()) + 1))
        a, b = self.estimate, other.estimate
        if symbol == "*":
            estimate, influence = a * b, b * self.influence_values + a * other.influence_values
        else:
            sign = 1.0 if symbol == "+" else -1.0
            estimate, influence = a + sign * b, self.influence_values + sign * other.influence_values
        freedoms = [d for d in (self.df, other.df) if d is not None]
        return InferenceResult(
            estimate=estimate,
            cov=influence_covariance(influence, groups=groups),
            names=tuple(f"{x} {symbol} {y}" for x, y in zip(self.names, other.names, strict=True)),
            n_obs=self.n_obs,
            influence_values=influence,
            groups=self.groups,
            df=min(freedoms) if freedoms else None,
            dependence=self.dependence,
            sample=self.sample,
        )

    def _shift(self, constant: Any) -> InferenceResult:
        return self._derive(self.estimate + np.asarray(constant, dtype=float), np.eye(len(self.names)), self.names)

    def __add__(self, other: Any) -> InferenceResult:
        return self._combine(other, "+") if isinstance(other, InferenceResult) else self._shift(other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> InferenceResult:
        if isinstance(other, InferenceResult):
            return self._combine(other, "-")
        return self._shift(-np.asarray(other, dtype=float))

    def __rsub__(self, other: Any) -> InferenceResult:
        return (-self)._shift(other)

    def __mul__(self, other: Any) -> InferenceResult:
        if isinstance(other, InferenceResult):
            return self._combine(other, "*")
        scale = np.diag(np.broadcast_to(np.asarray(other, dtype=float), self.estimate.shape))
        return self._derive(scale @ self.estimate, scale, self.names)

    __rmul__ = __mul__
    # Let `array * result` reach __rmul__ instead of an elementwise object array.
    __array_ufunc__ = None

    def __float__(self) -> float:
        """The estimate, where there is only one."""
        if len(self.estimate) != 1:
            raise TypeError(
                f"the result has {len(self.estimate)} estimates ({', '.join(self.names[:5])}): use .estimate, or "
                ".contrast to pick one."
            )
        return float(self.estimate[0])

    def __neg__(self) -> InferenceResult:
        return self * -1.0

    # ------------------------------------------------------------------ presentation

    def summary(self, confidence_level: float = 0.95) -> pd.DataFrame:
        """Table with estimate, std_error, statistic, pvalue, lower and upper.

        Parameters
        ----------
        confidence_level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        DataFrame
        """
        import pandas as pd

        frame = pd.DataFrame({"estimate": self.estimate, "std_error": self.std_error}, index=list(self.names))
        with np.errstate(divide="ignore", invalid="ignore"):
            frame["statistic"] = self.estimate / self.std_error
        # Columns are set by position: names may repeat, and a join on them would multiply rows.
        frame["pvalue"] = self.pvalue().to_numpy()
        frame[["lower", "upper"]] = self.conf_int(confidence_level).to_numpy()
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; influence values are left out."""
        return {
            "names": list(self.names),
            "estimate": self.estimate.tolist(),
            "std_error": self.std_error.tolist(),
            "cov": self.cov.tolist(),
            "n_obs": int(self.n_obs),
            "df": self.df,
            "dependence": self.dependence,
        }

    def _caption(self) -> str:
        reference = "normal" if self.df is None else f"t with {self.df:g} degrees of freedom"
        return f"{type(self).__name__}: {self.n_obs} rows, {self.dependence}, {reference} reference"

    def __repr__(self) -> str:
        return f"{self._caption()}\n{self.summary().round(5).to_string()}"

    def _repr_html_(self) -> str:
        table = self.summary().to_html(float_format=lambda v: f"{v:.5g}", border=0)
        return f"<div><p>{self._caption()}</p>{table}</div>"
