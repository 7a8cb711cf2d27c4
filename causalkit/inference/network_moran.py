"""Whether residuals still go with their neighbourhood: Moran's I, and correlations with neighbours' covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import GraphError
from causalkit.inference.network_distance import Skeleton
from causalkit.validation import check_integer, check_matrix, check_vector

__all__ = ["CovariateAssociation", "MoranTest", "covariate_association", "moran"]

Array = NDArray[np.float64]

# Values that one block of permuted columns may hold.
_BLOCK_VALUES = 2**23


@dataclass(frozen=True)
class MoranTest:
    """Moran's I with its permutation test.

    Attributes
    ----------
    statistic : float
        I.
    expected : float
        Its mean over all permutations, -1/(n - 1).
    std_error : float
        Its standard deviation over the permutations that were drawn.
    pvalue : float
        Two-sided, by distance from ``expected``.
    n_permutations : int
        Permutations drawn.
    """

    statistic: float
    expected: float
    std_error: float
    pvalue: float
    n_permutations: int


@dataclass(frozen=True, eq=False)
class CovariateAssociation:
    """Largest correlation of residuals with covariates.

    Attributes
    ----------
    statistic : float
        Largest √n|correlation|.
    pvalue : float
        Two-sided, by Bonferroni over the columns that vary.
    column : str
        Where it is reached.
    statistics : ndarray, shape (p,)
        √n|correlation| of every column; 0 for columns that do not vary.
    """

    statistic: float
    pvalue: float
    column: str
    statistics: Array


def moran(values: Any, adjacency: Any, *, n_permutations: int = 999, random_state: Any = None) -> MoranTest:
    r"""Moran's I: whether linked nodes have similar values.

    .. math:: I = \frac{n}{\sum_{ij}A_{ij}}\,\frac{u'Au}{u'u}, \qquad u = \text{values less their mean}.

    The p-value compares it with I of permuted values, whose mean is -1/(n - 1) exactly. It sees similarity of
    neighbours; confounding by neighbours' covariates may leave it near zero, see :func:`covariate_association`.

    Parameters
    ----------
    values : array-like, shape (n,)
        One value per node, such as residuals.
    adjacency : scipy sparse matrix, shape (n, n), or Skeleton
        Weights :math:`A_{ij}`; the diagonal is left out.
    n_permutations : int, default=999
        Permutations; 0 gives the statistic alone, with p-value 1.
    random_state : int or Generator
        Seed of the permutations.

    Returns
    -------
    MoranTest

    Raises
    ------
    TypeError
        ``adjacency`` is not a scipy sparse matrix.
    GraphError
        Its shape is not (n, n), or its weights do not sum to a positive number.
    ValueError
        Constant values.

    References
    ----------
    Moran (1950), Biometrika 37:17-23.

    Examples
    --------
    Signs that alternate along a ring.

    >>> import numpy as np
    >>> from scipy import sparse
    >>> from causalkit.inference import moran
    >>> ring = sparse.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[1, -1, 99, -99], shape=(100, 100))
    >>> test = moran(np.tile([1.0, -1.0], 50), ring, random_state=0)
    >>> test.statistic, test.pvalue
    (-1.0, 0.001)
    """
    count = check_integer(n_permutations, "n_permutations", low=0)
    u = check_vector(values, "values")
    u = u - u.mean()
    n, matrix = len(u), _weights(adjacency, len(u))
    square = float(u @ u)
    if not square > 1e-20 * n * max(float(np.max(np.abs(values))), 1e-300) ** 2:
        raise ValueError("values are constant: Moran's I compares deviations from their mean, and there are none.")
    factor = n / float(matrix.sum()) / square
    statistic = float(u @ (matrix @ u)) * factor
    rng = np.random.default_rng(random_state)
    permuted = np.empty(count)
    width = max(1, min(count, _BLOCK_VALUES // n))
    for first in range(0, count, width):
        block = np.column_stack([rng.permutation(u) for _ in range(min(width, count - first))])
        permuted[first : first + block.shape[1]] = np.einsum("ij,ij->j", block, matrix @ block) * factor
    expected = -1 / (n - 1)
    # A hair of slack counts rearrangements of the same values as ties, whatever their rounding.
    beyond = np.abs(permuted - expected) >= abs(statistic - expected) * (1 - 1e-12)
    return MoranTest(
        statistic, expected, float(permuted.std()) if count else 0.0, float((1 + beyond.sum()) / (1 + count)), count
    )


def _weights(adjacency: Any, n: int) -> Any:
    matrix = adjacency.matrix if isinstance(adjacency, Skeleton) else adjacency
    if not sparse.issparse(matrix):
        raise TypeError(
            f"adjacency must be a scipy sparse matrix, got {type(matrix).__name__}: pass "
            "scipy.sparse.csr_array(matrix), or the adjacency of a Graph by its to_scipy()."
        )
    if matrix.shape != (n, n):
        raise GraphError(f"adjacency has shape {matrix.shape}, but values has {n} rows: expected shape ({n}, {n}).")
    matrix = sparse.csr_array(matrix, dtype=np.float64)
    diagonal = matrix.diagonal()
    if diagonal.any():
        matrix = sparse.csr_array(matrix - sparse.diags_array(diagonal))
    total = float(matrix.sum())
    if not (np.isfinite(total) and total > 0):
        raise GraphError(
            f"adjacency has weights that sum to {total:g}: expected a positive sum. Without links nothing is near."
        )
    return matrix


def covariate_association(values: Any, covariates: Any) -> CovariateAssociation:
    r"""Largest correlation of residuals with a set of covariates, such as averages over neighbours.

    .. math:: \max_j \sqrt{n}\,|\mathrm{corr}(u, Z_j)|

    Residuals of adequate nuisance models go with no covariate; each :math:`\sqrt n\,\mathrm{corr}` is then standard
    normal in large samples, and the p-value multiplies the smallest one by the number of columns.

    Parameters
    ----------
    values : array-like, shape (n,)
        Residuals.
    covariates : array-like, shape (n, p)
        Columns, names kept.

    Returns
    -------
    CovariateAssociation

    Raises
    ------
    ValueError
        Constant values, or no column that varies.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.inference import covariate_association
    >>> Z = np.random.default_rng(0).normal(size=(400, 3))
    >>> found = covariate_association(Z[:, 1] + 3 * np.random.default_rng(1).normal(size=400), Z)
    >>> found.column, found.pvalue < 0.001
    ('covariates1', True)
    """
    from scipy import stats

    u = check_vector(values, "values")
    Z, names = check_matrix(covariates, "covariates", n_rows=len(u), like="values")
    u = u - u.mean()
    centred = Z - Z.mean(axis=0)
    size = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    varies = size > 1e-10 * np.sqrt(np.einsum("ij,ij->j", Z, Z))
    length = float(np.sqrt(u @ u))
    if not length > 1e-10 * float(np.linalg.norm(values)) or not varies.any():
        which = "values are constant" if varies.any() else "covariates has no column that varies"
        raise ValueError(f"{which}: there is nothing to correlate. Pass residuals and columns that vary over rows.")
    correlation = np.divide(u @ centred, size * length, out=np.zeros(Z.shape[1]), where=varies)
    statistics = np.sqrt(len(u)) * np.abs(correlation)
    best = int(statistics.argmax())
    pvalue = min(1.0, float(2 * stats.norm.sf(statistics[best])) * int(varies.sum()))
    return CovariateAssociation(float(statistics[best]), pvalue, names[best], statistics)
