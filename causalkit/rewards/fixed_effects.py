r"""Fixed effects: least squares within the levels of categorical confounders.

With D the dummies of all factors and W numeric confounder columns, :math:`\tilde X` and :math:`\tilde Y` are what
weighted least squares on (D, W) leaves, and :math:`\hat\theta = (\sum w\tilde X\tilde X' + \lambda I)^{-1}\sum
w\tilde X\tilde Y`. No dummy is built; every sum is taken in float64 whatever the type of X.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.absorption import Absorption, row_blocks
from causalkit.rewards.level_space import level_rank, nested_in
from causalkit.rewards.orthogonal import OrthogonalFit, fit_orthogonal, transposed_times
from causalkit.validation import Groups, check_vector

__all__ = ["NumericPart", "WithinFit", "within_fit"]

Array = NDArray[np.float64]

# Relative size below which a numeric column, or a combination of them, is explained by the factors.
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True, eq=False)
class NumericPart:
    """Numeric confounder columns as the factors leave them.

    Attributes
    ----------
    columns : ndarray, shape (n, q)
        W̃, the residuals of the columns after the factors.
    inverse : ndarray, shape (q, q)
        (Pseudo-)inverse of ΣwW̃W̃'.
    outcome_slopes : ndarray, shape (q,)
        Coefficients of W̃ for the outcome.
    feature_slopes : ndarray, shape (q, p)
        Coefficients of W̃ for the features.
    rank : int
        Rank of W̃: the degrees of freedom that it takes beyond the factors.
    """

    columns: Array
    inverse: Array
    outcome_slopes: Array
    feature_slopes: Array
    rank: int


@dataclass(frozen=True, eq=False)
class WithinFit:
    """Least squares within levels.

    Attributes
    ----------
    orthogonal : OrthogonalFit
        The regression of residuals on residuals; its absorbed rank counts rows that are not informative as well.
    absorption : Absorption
        The factors.
    numeric : NumericPart
        The numeric confounders, with q = 0 columns if there are none.
    """

    orthogonal: OrthogonalFit
    absorption: Absorption
    numeric: NumericPart = field(repr=False)

    @property
    def coef(self) -> Array:
        """θ̂, shape (p,)."""
        return self.orthogonal.coef

    @property
    def gamma(self) -> Array:
        """Coefficients of the numeric confounders at θ̂, shape (q,)."""
        return self.numeric.outcome_slopes - self.numeric.feature_slopes @ self.coef

    @property
    def residual_features(self) -> NDArray[np.floating]:
        """X̃ in the type of X, shape (n, p); zero in rows that are not informative."""
        return self.orthogonal.features

    @property
    def residuals(self) -> Array:
        """ê = Ỹ - X̃θ̂, shape (n,); zero in rows that are not informative."""
        return self.orthogonal.residuals

    @property
    def gram(self) -> Array:
        """ΣwX̃X̃', shape (p, p)."""
        return self.orthogonal.second_moment * self.orthogonal.n

    @property
    def n_absorbed(self) -> int:
        """Rank of the dummies and the numeric columns on the informative rows."""
        return self.absorption.rank + self.numeric.rank

    @property
    def degrees_of_freedom(self) -> int:
        """Informative rows less absorbed rank less features."""
        return self.absorption.n_informative - self.n_absorbed - len(self.coef)

    @property
    def sigma2(self) -> float:
        """Residual variance σ̂² = Σwê²/(n - d - p)."""
        return self.orthogonal.residual_variance

    def finite_sample_factor(self, kind: str = "HC1", groups: Groups | None = None) -> float:
        r"""What a sandwich covariance is multiplied by.

        n/(n - d - p) over the informative rows, without which errors after demeaning are too small by
        :math:`\sqrt{1 - 1/n_g}`. With groups G/(G - 1) joins it, and levels of factors that are nested in the groups
        are not counted: sums over a group hold whole levels, from which nothing was lost. 1 for "HC0" and
        "homoskedastic".
        """
        if kind in ("HC0", "homoskedastic"):
            return 1.0
        rows = self.absorption.informative_rows
        n = int(rows.sum())
        if groups is None:
            return n / self.degrees_of_freedom
        clusters = groups.codes[rows]
        levels = [code[rows] for code in self.absorption.codes]
        crossing = [code for code in levels if not nested_in(code, clusters)]
        # Without any crossing factor the constant is still estimated.
        absorbed = self.numeric.rank + (level_rank(crossing) if crossing else 1)
        n_groups = len(np.unique(clusters))
        if n_groups < 2:
            raise ValueError(
                f"groups: the {n} rows that bear on the coefficients lie in one group, and a clustered covariance "
                'needs at least two. Pass finer groups, or covariance="HC1".'
            )
        return n_groups / (n_groups - 1) * n / (n - absorbed - len(self.coef))

    def covariance(self, kind: str = "HC1", groups: Groups | None = None) -> Array:
        """Covariance of θ̂, shape (p, p), with :meth:`finite_sample_factor`.

        Parameters
        ----------
        kind : {"homoskedastic", "HC0", "HC1", "cluster"}, default="HC1"
        groups : Groups, optional
            For "cluster".
        """
        if kind == "cluster":
            if groups is None:
                raise ValueError('groups is missing: covariance="cluster" needs one label per row; pass groups=.')
            plain = self.orthogonal.covariance("cluster", groups) * (groups.n_groups - 1) / groups.n_groups
            return np.asarray(plain * self.finite_sample_factor(kind, groups))
        base = self.orthogonal.covariance("HC0" if kind == "HC1" else kind)
        return np.asarray(base * self.finite_sample_factor(kind))


def within_fit(
    X: NDArray[np.floating],
    y: Array,
    W: Array | None,
    absorption: Absorption,
    *,
    weight: Array | None = None,
    penalty: float = 0.0,
    names: list[str] | None = None,
    feature_moment: Array | None = None,
) -> WithinFit:
    r"""Regress y on X within the levels of the factors, with the numeric columns W partialled out.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Features, float32 or float64. One matrix of this shape and type is made, in float64 chunks.
    y : ndarray, shape (n,)
        Outcome.
    W : ndarray, shape (n, q), or None
        Numeric confounder columns, such as splines. Columns that the factors explain are harmless.
    absorption : Absorption
        The factors, from :func:`~causalkit.rewards.absorption.absorb`.
    weight : ndarray, shape (n,), optional
        May be left out: the weights are those of ``absorption``. If given they must be the same up to scale.
    penalty : float, default=0.0
        Ridge penalty λ.
    names : list of str, length p, optional
        Feature names for messages.
    feature_moment : ndarray, shape (p, p), optional
        Covariance of the features, against which the variation that is left is judged; default its diagonal.

    Returns
    -------
    WithinFit

    Raises
    ------
    ValueError
        Unequal lengths; weights that are not those of ``absorption``; fewer informative rows than parameters.
    NonFiniteError
        NaN or infinity.
    IdentificationError
        Some combination of features does not vary within levels, without penalty.

    References
    ----------
    Stock and Watson (2008), doi:10.1111/j.0012-9682.2008.00821.x.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.absorption import absorb
    >>> from causalkit.rewards.fixed_effects import within_fit
    >>> from causalkit.rewards.records import Factor
    >>> month = Factor("month", np.array([0] * 5 + [1] * 5), np.array([1, 2]))
    >>> x = np.array([1.0, 0, 0, 0, 0, 1, 1, 1, 1, 0])
    >>> fit = within_fit(x[:, None], x + 3.0 * month.codes, None, absorb([month]))
    >>> fit.coef.round(12).tolist(), fit.degrees_of_freedom
    ([1.0], 7)
    """
    y = check_vector(y, "y", n_rows=absorption.n_rows, like="the factors")
    w = _checked_weight(weight, absorption)
    features, outcome = absorption.residualise(X), absorption.residualise(y)
    numeric = _partial_out(features, outcome, W, absorption, w)
    free = absorption.n_informative - absorption.rank - numeric.rank
    if free <= features.shape[1]:
        raise ValueError(
            f"X has {features.shape[1]} features for {free} degrees of freedom: {absorption.n_informative} informative "
            f"rows less {absorption.rank} for the levels of {', '.join(absorption.names)} and {numeric.rank} for "
            "numeric confounders. Drop features or factors, or merge rare levels."
        )
    fit = fit_orthogonal(
        features,
        outcome,
        weight=w,
        penalty=penalty,
        # Rows that are not informative are in the fit with zeros: they count as absorbed.
        n_absorbed=(absorption.n_rows if w is None else int(np.count_nonzero(w))) - free,
        names=names,
        feature_moment=np.diag(_column_variances(X, w)) if feature_moment is None else feature_moment,
    )
    return WithinFit(fit, absorption, numeric)


def _checked_weight(weight: Array | None, absorption: Absorption) -> Array | None:
    own = absorption.weight
    if weight is None:
        return own
    given = check_vector(weight, "weight", n_rows=absorption.n_rows, like="the factors")
    reference = np.ones(absorption.n_rows) if own is None else own
    if not np.allclose(given * (reference.sum() / given.sum()), reference, rtol=1e-9, atol=0):
        raise ValueError(
            "weight differs from the weights that the factors were absorbed with: expected the same values up to "
            "scale. Pass the same weight to absorb, or leave it out here."
        )
    return own


def _column_variances(X: NDArray[np.floating], weight: Array | None) -> Array:
    w = np.full(len(X), 1.0 / len(X)) if weight is None else weight / weight.sum()
    mean = transposed_times(X, w)
    total = np.zeros(X.shape[1])
    for rows in row_blocks(len(X)):
        block = X[rows].astype(np.float64) - mean
        total += w[rows] @ (block * block)
    return total


def _partial_out(
    features: NDArray[np.floating], outcome: Array, W: Array | None, absorption: Absorption, weight: Array | None
) -> NumericPart:
    """Take the residualised numeric columns out of features and outcome, in place."""
    p = features.shape[1]
    if W is None or W.shape[1] == 0:
        return NumericPart(np.zeros((len(outcome), 0)), np.zeros((0, 0)), np.zeros(0), np.zeros((0, p)), 0)
    columns = absorption.residualise(np.asarray(W, dtype=np.float64))
    size = np.sqrt(_column_variances(np.asarray(W, dtype=np.float64), weight) * len(columns))
    unit = columns / np.where(size > 0, size, 1.0)
    weighted = unit if weight is None else unit * weight[:, None]
    # Eigenvalues are shares of variance that the factors leave, so squared relative sizes.
    values, vectors = np.linalg.eigh(weighted.T @ unit)
    kept = values > _NEGLIGIBLE**2 * unit.shape[1] + 1e-13 * values.max()
    directions = vectors[:, kept]
    inverse = (directions / values[kept]) @ directions.T / np.outer(*[np.where(size > 0, size, 1.0)] * 2)
    weighted = columns if weight is None else columns * weight[:, None]
    outcome_slopes = inverse @ (weighted.T @ outcome)
    feature_slopes = inverse @ transposed_times(features, weighted).T
    outcome -= columns @ outcome_slopes
    for rows in row_blocks(len(columns)):
        features[rows] -= columns[rows] @ feature_slopes
    return NumericPart(columns, inverse, outcome_slopes, feature_slopes, int(kept.sum()))
