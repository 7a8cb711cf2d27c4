"""PartialCorrelationDisplay: network, matrix and diagnostics of a fitted composition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting import _partial_correlation_kinds as kinds
from causalkit.plotting._axes import axes_of
from causalkit.validation import check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PartialCorrelationDisplay"]

Array = NDArray[np.float64]

KINDS = ("network", "matrix", "null", "scree", "pvalues", "biplot")
_SIZES = {"network": (7.2, 6.4), "matrix": (6.6, 5.6), "biplot": (6.6, 6.0)}
_MOST_PARTS = 2000


class PartialCorrelationDisplay:
    r"""Partial correlations of a composition, drawn in one of six ways.

    "network"
        Pairs with q at most ``max_qvalue``: sign by colour and by line style, width in proportion to :math:`|r|`.
        Parts stand on a circle in the order of a clustering, the same in every run. An estimator without tests (a
        graphical lasso) shows the pairs that are not zero.
    "matrix"
        Heat map of r in the order of an average-linkage clustering on :math:`1 - |r|`; dots mark the edges.
    "null"
        r against the closure null :math:`r^0` with the identity line: a pair on the line is what closing independent
        amounts produces.
    "scree"
        Eigenvalues of the log-ratio covariance Γ as shares of the total variance. The smallest ones decide Γ⁺.
    "pvalues"
        Histogram of the p-values with the level that uniform ones would have.
    "biplot"
        Parts as arrows :math:`\sqrt{\lambda_k}v_k` of the two leading eigenvectors of Γ. The distance of two arrow
        heads approximates the standard deviation of their log-ratio. Rows are drawn as :math:`c'v_k/\sqrt{\lambda_k}`
        where X is given.

    No kind shows a cause: a line says that two log-ratios vary together given the others.

    Parameters
    ----------
    kind : {"network", "matrix", "null", "scree", "pvalues", "biplot"}
    names : list of str, length D
    values : dict of str to ndarray
        What the kind draws: ``r`` (D, D), ``r0`` (D, D), ``edge`` (D, D) of bool, ``pvalues`` (pairs,), ``shares``
        (D-1,), ``heads`` (D, 2), ``scores`` (n, 2).
    title : str
        Says n, D and which pairs are edges.
    layout : "circular" or mapping of str to (x, y), default="circular"
        Positions of the parts in "network".

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        An unknown kind, a layout without a part, or more than 2000 parts.
    AttributeError
        A kind that needs p-values of a fit without a test.

    References
    ----------
    Erb 2020, doi 10.1016/j.acags.2020.100026; Aitchison and Greenacre 2002, Applied Statistics 51:375-392 (biplot).

    Examples
    --------
    >>> from causalkit.composition import CompositionalPartialCorrelation
    >>> from causalkit.datasets import make_composition_network
    >>> from causalkit.plotting import PartialCorrelationDisplay
    >>> X = make_composition_network(n_samples=200, n_parts=8, random_state=0).X
    >>> fitted = CompositionalPartialCorrelation().fit(X)
    >>> display = PartialCorrelationDisplay.from_estimator(fitted, kind="network")
    >>> print(display.title)
    8 of 28 pairs with q ≤ 0.05 (zero null)
    n = 200, D = 8
    """

    def __init__(
        self,
        *,
        kind: str,
        names: list[str],
        values: dict[str, Any],
        title: str,
        layout: str | Mapping[str, Any] = "circular",
    ) -> None:
        self.kind, self.names, self.values, self.title, self.layout = kind, names, values, title, layout

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        kind: str = "network",
        *,
        max_qvalue: float = 0.05,
        layout: str | Mapping[str, Any] = "circular",
        X: Any = None,
        ax: Any = None,
    ) -> PartialCorrelationDisplay:
        """Compute and draw from a fitted :class:`CompositionalPartialCorrelation` or graphical lasso.

        Parameters
        ----------
        estimator : fitted estimator
            With ``partial_correlation_``; other attributes as the kind needs them.
        kind : {"network", "matrix", "null", "scree", "pvalues", "biplot"}, default="network"
        max_qvalue : float, default=0.05
            Largest q of an edge.
        layout : "circular" or mapping of str to (x, y), default="circular"
            Positions of the parts in "network".
        X : array-like, shape (n, D), optional
            Rows for "biplot"; zeros are replaced by the rule of the fit.
        ax : Axes, optional
        """
        check_choice(kind, "kind", KINDS)
        if not hasattr(estimator, "partial_correlation_"):
            raise ValueError(
                "PartialCorrelationDisplay needs a fitted CompositionalPartialCorrelation or "
                f"CompositionalGraphicalLasso; got {type(estimator).__name__}. Call fit first."
            )
        d = int(estimator.n_features_in_)
        if d > _MOST_PARTS:
            raise ValueError(f"estimator has {d} parts; a figure takes at most {_MOST_PARTS}. Use top_k or to_frame.")
        if kind == "null" and not hasattr(estimator, "closure_null_"):
            raise ValueError(f'kind="null" needs a closure null, which {type(estimator).__name__} does not have.')
        names = [str(name) for name in getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(d)])]
        size = f"n = {estimator.n_effective_:.4g}, D = {d}" if hasattr(estimator, "n_effective_") else f"D = {d}"
        values, words = _values(estimator, kind, max_qvalue, X)
        display = cls(kind=kind, names=names, values=values, title=f"{words}\n{size}", layout=layout)
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> PartialCorrelationDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        PartialCorrelationDisplay
        """
        positions = kinds.positions(self.layout, self.names, self.values) if self.kind == "network" else None
        self.ax_ = ax = axes_of(ax, figsize=_SIZES.get(self.kind, (6.4, 4.6)))
        self.figure_ = ax.figure
        if self.kind == "network":
            kinds.draw_network(ax, self.names, self.values, positions)
        else:
            getattr(kinds, f"draw_{self.kind}")(ax, self.names, self.values)
        ax.set_title(self.title, fontsize="medium")
        return self

    def edges(self) -> pd.DataFrame:
        """Pairs that are drawn as edges ("network", "matrix" and "null"), strongest first.

        Returns
        -------
        DataFrame
            ``part_a``, ``part_b``, ``partial_correlation``.
        """
        import pandas as pd

        if "edge" not in self.values:
            raise ValueError(f"kind={self.kind!r} has no edges: use 'network', 'matrix' or 'null'.")
        first, second = np.nonzero(np.triu(self.values["edge"], 1))
        r = self.values["r"][first, second]
        order = np.argsort(-np.abs(r), kind="stable")
        labels = np.array(self.names, dtype=object)
        frame = {"part_a": labels[first], "part_b": labels[second], "partial_correlation": r}
        return pd.DataFrame(frame).iloc[order].reset_index(drop=True)


def _values(estimator: Any, kind: str, max_qvalue: float, X: Any) -> tuple[dict[str, Any], str]:
    """Arrays that a kind draws, and the words of its title."""
    null = _null_words(estimator)
    if kind == "scree":
        shares = kinds.eigenvalues(np.asarray(estimator.log_ratio_covariance_))[0]
        return {"shares": shares / shares.sum()}, "Eigenvalues of the log-ratio covariance"
    if kind == "biplot":
        return _biplot_values(estimator, X)
    if kind == "pvalues":
        pvalues = np.asarray(estimator.pvalues_)
        return {"pvalues": pvalues[np.triu_indices(len(pvalues), 1)]}, f"p-values of all pairs{null}"
    r = np.asarray(estimator.partial_correlation_)
    edge, rule = _edges(estimator, r, max_qvalue)
    values = {"r": r, "edge": edge}
    if kind == "null":
        values["r0"] = np.asarray(estimator.closure_null_)
    count, pairs = int(edge.sum()) // 2, len(r) * (len(r) - 1) // 2
    return values, f"{count} of {pairs} pairs {rule}" + (null if rule.startswith("with q") else "")


def _edges(estimator: Any, r: Array, max_qvalue: float) -> tuple[NDArray[np.bool_], str]:
    """Pairs that count as edges, and the rule in words."""
    off_diagonal = ~np.eye(len(r), dtype=bool)
    if not hasattr(type(estimator), "qvalues_"):
        return (r != 0) & off_diagonal, "not zero"
    return (np.asarray(estimator.qvalues_) <= max_qvalue) & off_diagonal, f"with q ≤ {max_qvalue:g}"


def _null_words(estimator: Any) -> str:
    """Name of the null hypothesis behind the p-values: a figure without it could be read either way."""
    null = getattr(getattr(estimator, "_network", None), "null", None)
    return f" ({null} null)" if null in ("zero", "closure") else ""


def _biplot_values(estimator: Any, X: Any) -> tuple[dict[str, Any], str]:
    lengths, vectors = kinds.eigenvalues(np.asarray(estimator.log_ratio_covariance_))
    shares = lengths / lengths.sum()
    values = {"heads": vectors[:, :2] * np.sqrt(lengths[:2]), "shares": shares}
    if X is not None:
        from causalkit.validation import check_composition

        rule = getattr(estimator, "zero_replacement_", None)
        rows, _ = check_composition(X if rule is None else np.asarray(rule.transform(X)))
        if rows.shape[1] != len(vectors):
            raise ValueError(f"X has {rows.shape[1]} parts, but the estimator was fitted on {len(vectors)}.")
        logs = np.log(rows)
        clr = logs - logs.mean(axis=1, keepdims=True)
        values["scores"] = (clr - clr.mean(axis=0)) @ vectors[:, :2] / np.sqrt(lengths[:2])
    return values, f"Covariance biplot: {100 * shares[:2].sum():.0f} % of the log-ratio variance"
