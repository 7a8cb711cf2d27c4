"""Diagnostics of learners on graphs as tables: overlap, balance, dependence left in residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.identification import arm_sample_sizes
from causalkit.inference import covariate_association, moran

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["balance_table", "degree_groups", "overlap_table", "residual_table"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


def degree_groups(degree: Any, n_groups: int = 10) -> tuple[Codes, list[str]]:
    """Deciles of the degree, equal degrees together, named by the degrees that they hold."""
    values = np.asarray(degree)
    edges = np.unique(np.quantile(values, np.arange(1, n_groups) / n_groups, method="higher"))
    codes = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1].astype(np.intp)
    names = []
    for group in range(int(codes.max()) + 1):
        low, high = values[codes == group].min(), values[codes == group].max()
        names.append(f"degree {low}" if low == high else f"degree {low}-{high}")
    return codes, names


def overlap_table(
    probabilities: Array,
    codes: Codes,
    clipped: NDArray[np.bool_],
    groups: Codes,
    names: list[str],
    levels: Any,
    unclipped: Array | None = None,
    weight: Array | None = None,
) -> pd.DataFrame:
    """Extreme propensities, clipped share and effective sample size per arm, for all rows and by group.

    Parameters
    ----------
    probabilities : ndarray, shape (n, L)
        Clipped propensities, which weight the arms.
    codes : ndarray of int, shape (n,)
        Levels.
    clipped : ndarray of bool, shape (n,)
        Rows whose propensity was moved.
    groups : ndarray of int, shape (n,)
        Group of each row.
    names : list of str
        Of the groups.
    levels : array-like, shape (L,)
        Labels of the arms.
    unclipped : ndarray, shape (n, L), optional
        Propensities as predicted, whose extremes are counted; the clipped ones without.
    weight : ndarray, shape (n,), optional
        Weights of the rows, which multiply 1/e in the effective sample sizes; the other columns count rows.

    Returns
    -------
    DataFrame
        ``n``, ``outside_05`` and ``outside_01`` (shares with a propensity below .05 or .01, or above one less that),
        ``clipped``, and per level ``n_<level>`` and ``ess_<level>``,
        :math:`(\\sum w/e)^2/\\sum (w/e)^2` over the arm.
    """
    import pandas as pd

    rows = {}
    selections = [("all", np.ones(len(codes), bool))] + [(name, groups == g) for g, name in enumerate(names)]
    predicted = probabilities if unclipped is None else unclipped
    low, high = predicted.min(axis=1), predicted.max(axis=1)
    for name, inside in selections:
        sizes = arm_sample_sizes(probabilities[inside], codes[inside], None if weight is None else weight[inside])
        counts = np.bincount(codes[inside], minlength=len(sizes))
        row: dict[str, Any] = {
            "n": int(inside.sum()),
            "outside_05": float(((low < 0.05) | (high > 0.95))[inside].mean()),
            "outside_01": float(((low < 0.01) | (high > 0.99))[inside].mean()),
            "clipped": float(clipped[inside].mean()),
        }
        for k, level in enumerate(levels):
            row[f"n_{level}"], row[f"ess_{level}"] = int(counts[k]), float(sizes[k])
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def balance_table(
    columns: Array, names: list[str], codes: Codes, probabilities: Array, levels: Any, weight: Array | None
) -> pd.DataFrame:
    """Standardised mean differences of each level to the first, before and after weighting by 1/e.

    The unit is the standard deviation over the two arms, :math:`\\sqrt{(s_l^2 + s_0^2)/2}`, before weighting.
    """
    import pandas as pd

    base = np.ones(len(codes)) if weight is None else weight
    first = codes == 0
    table = {}
    for k in range(1, probabilities.shape[1]):
        arm = codes == k
        spread = np.sqrt((columns[arm].var(axis=0) + columns[first].var(axis=0)) / 2)
        unit = np.where(spread > 0, spread, np.inf)
        for when, w in (
            ("before", base),
            ("after", base / probabilities[np.arange(len(codes)), codes]),
        ):
            difference = np.average(columns[arm], axis=0, weights=w[arm]) - np.average(
                columns[first], axis=0, weights=w[first]
            )
            label = when if probabilities.shape[1] == 2 else f"{when}, {levels[k]}"
            table[label] = difference / unit
    return pd.DataFrame(table, index=pd.Index(names, name="covariate"))


def correlation_table(columns: Array, names: list[str], treatment: Array, residual: Array) -> pd.DataFrame:
    """Correlations of covariates with a continuous treatment, and with what its model leaves of it."""
    import pandas as pd

    centred = columns - columns.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0))
    table = {}
    for when, values in (("before", treatment), ("after", residual)):
        u = values - values.mean()
        length = size * np.sqrt(u @ u)
        table[when] = np.divide(u @ centred, length, out=np.zeros(len(size)), where=length > 0)
    return pd.DataFrame(table, index=pd.Index(names, name="covariate"))


def residual_table(
    residuals: dict[str, Array], adjacency: Any, columns: Any, names: list[str], *, random_state: Any = 0
) -> pd.DataFrame:
    """Moran's I and the neighbour-covariate test of every kind of residual.

    Parameters
    ----------
    residuals : dict of str to ndarray, shape (n,)
        By name.
    adjacency : scipy sparse matrix, shape (n, n)
        Among the rows.
    columns : array-like, shape (n, c)
        Hop columns.
    names : list of str
        Of the columns.

    Returns
    -------
    DataFrame
        ``moran_i``, ``moran_pvalue`` (999 permutations), ``largest`` (max √n|corr| with a column), ``column``,
        ``pvalue`` (Bonferroni). A small p-value says that the model misses something that neighbours' covariates know.
    """
    import pandas as pd

    frame = pd.DataFrame(columns, columns=names)
    rows = {}
    for name, values in residuals.items():
        tested = moran(values, adjacency, random_state=random_state) if adjacency.nnz else None
        found = covariate_association(values, frame)
        rows[name] = {
            "moran_i": np.nan if tested is None else tested.statistic,
            "moran_pvalue": np.nan if tested is None else tested.pvalue,
            "largest": found.statistic,
            "column": found.column,
            "pvalue": found.pvalue,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
