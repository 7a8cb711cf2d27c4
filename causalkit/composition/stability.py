"""Stability selection: how often each edge comes back when half the rows are left out, and the penalty it asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.composition.subsample_fits import Plan, held_shrinkage, penalty_name, run_tasks
from causalkit.seeds import root_seed
from causalkit.validation import check_composition, check_integer

__all__ = ["StabilitySelection", "stability_selection"]

Array = NDArray[np.float64]

_N_BRACKET = 2


@dataclass(frozen=True, eq=False)
class StabilitySelection:
    """Edges under subsampling of the rows.

    Attributes
    ----------
    edge_frequency : ndarray, shape (A, D, D)
        θ, the share of the fitted subsamples in which a pair is an edge; zero diagonal.
    instability : ndarray, shape (A,)
        Mean of 2θ(1 - θ) over the pairs.
    monotone_instability : ndarray, shape (A,)
        Largest instability up to this penalty, from the sparsest on.
    n_fits : ndarray of int, shape (A,)
        Subsamples behind each row: all of them, or two outside the bracket of ``bounded=True``.
    alphas : ndarray, shape (A,), or None
        Penalties, sparsest first; None for an estimator without a penalty (A = 1).
    alpha : float or None
        Densest penalty whose monotone instability is within the threshold; None without a penalty, or where
        none is stable.
    selected : int or None
        Its position in ``alphas``; 0 without a penalty.
    subsample_size : int
        Rows in a subsample.
    part_names : tuple of str, length D
        Names of the parts.
    """

    edge_frequency: Array
    instability: Array
    monotone_instability: Array
    n_fits: NDArray[np.intp]
    alphas: Array | None
    alpha: float | None
    selected: int | None
    subsample_size: int
    part_names: tuple[str, ...]

    def to_frame(self, *, position: int | None = None, min_frequency: float = 0.0) -> Any:
        """Pairs by falling frequency.

        Parameters
        ----------
        position : int, optional
            Position in ``alphas``; default the selected one.
        min_frequency : float, default=0.0
            Pairs below it, and pairs that were never an edge, are left out.

        Returns
        -------
        DataFrame
            Columns part_a, part_b, frequency.

        Raises
        ------
        ValueError
            If no penalty was selected and no position is given.
        """
        import pandas as pd

        where = self.selected if position is None else check_integer(position, "position", low=0)
        if where is None or where >= len(self.edge_frequency):
            raise ValueError(
                f"position must be below {len(self.edge_frequency)}, and given where no penalty was stable; got "
                f"{position!r} with selected={self.selected}. Raise the threshold of stability_selection, or pass "
                "larger alphas."
            )
        theta = self.edge_frequency[where]
        first, second = np.triu_indices(len(theta), 1)
        frequency = theta[first, second]
        kept = np.flatnonzero((frequency > 0) & (frequency >= min_frequency))
        kept = kept[np.argsort(-frequency[kept], kind="stable")]
        names = np.array(self.part_names, dtype=object)
        return pd.DataFrame({"part_a": names[first[kept]], "part_b": names[second[kept]], "frequency": frequency[kept]})


def stability_selection(
    estimator: Any,
    X: Any,
    *,
    alphas: Any = None,
    n_subsamples: int = 20,
    subsample_size: int | str = "auto",
    threshold: float = 0.05,
    bounded: bool = False,
    n_jobs: int | None = None,
    random_state: Any = None,
    verbose: int = 0,
) -> StabilitySelection:
    r"""Fit a network on subsamples of the rows and choose the densest penalty that is stable.

    θ_ij(α) is the share of subsamples in which pair ij is an edge, and

    .. math:: \hat D(\alpha) = \frac{2}{D(D-1)}\sum_{i<j} 2\theta_{ij}(1-\theta_{ij}) ,\qquad
              \hat\alpha = \min\{\alpha : \max_{\alpha' \ge \alpha}\hat D(\alpha') \le t\} .

    This is the published definition. Some software reports 4θ(1 - θ): its .05 is .025 here.

    Parameters
    ----------
    estimator : estimator
        Unfitted; cloned for each task. With a parameter ``alpha`` (:class:`CompositionalGraphicalLasso`, or a
        pipeline that ends with it) a path is fitted, and an edge is a partial correlation that is not zero. The same
        α, which is relative to the data, serves every subsample. Without it (:class:`CompositionalPartialCorrelation`)
        an edge has a q-value of at most .05, and the shrinkage intensity of all rows is held on the subsamples.
    X : array-like, shape (n, D)
        Amounts.
    alphas : array-like, shape (A,), optional
        Penalties; default 20 values from 1 to .05, equally spaced in logs.
    n_subsamples : int, default=20
        Subsamples, at least 2, drawn without replacement.
    subsample_size : int or "auto", default="auto"
        "auto": 10√n for n above 144, else .8n.
    threshold : float, default=0.05
        t, between 0 and .5.
    bounded : bool, default=False
        Fit the whole path on two subsamples first, and the others only between the penalty that is stable for
        certain (2θ̄(1-θ̄) ≤ t for the mean θ̄ of the θ, since 2θ(1-θ) is concave) and the densest one that is stable
        on the two.
    n_jobs : int, optional
        Workers, as in joblib.
    random_state : int, RandomState, Generator or None
        Seeds the subsamples, each by its number: results do not depend on ``n_jobs``.
    verbose : int, default=0
        1 shows a progress bar on standard error.

    Returns
    -------
    StabilitySelection

    Raises
    ------
    ValueError
        If an argument is out of range, or the estimator cannot be fitted to a subsample.

    References
    ----------
    Liu, Roeder and Wasserman (2010), arXiv:1006.3316. Müller, Bonneau and Kurtz (2016), arXiv:1605.07072, for the
    bounds.

    Examples
    --------
    >>> from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso
    >>> from causalkit.composition.stability import stability_selection
    >>> from causalkit.datasets import make_composition_network
    >>> network = make_composition_network(n_samples=200, n_parts=6, random_state=0)
    >>> result = stability_selection(
    ...     CompositionalGraphicalLasso(), network.X, alphas=[0.9, 0.6, 0.3], n_subsamples=5, random_state=0
    ... )
    >>> result.edge_frequency.shape
    (3, 6, 6)
    """
    amounts, names = check_composition(X, zeros="allow", min_parts=3)
    check_integer(n_subsamples, "n_subsamples", low=2)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 0.5:
        raise ValueError(
            f"threshold must be a number above 0 and at most 0.5, the largest instability; got {threshold!r}."
        )
    size = _size(subsample_size, len(amounts))
    key = penalty_name(estimator)
    path = _check_path(alphas, key)
    model = clone(estimator) if key else held_shrinkage(estimator, X, len(amounts), len(names))
    root = root_seed(random_state)
    rows = [_subsample(root, b, len(amounts), size) for b in range(n_subsamples)]
    plan = Plan(model, X, rows, key, path, n_jobs, verbose)
    counts, n_fits, last = _count(plan, len(names), bounded and path is not None, float(threshold))
    theta = counts / n_fits[:, None]
    instability = np.mean(2 * theta * (1 - theta), axis=1)
    monotone = np.maximum.accumulate(instability)
    stable = np.flatnonzero(monotone[: last + 1] <= threshold)
    selected = 0 if path is None else (int(stable[-1]) if len(stable) else None)
    return StabilitySelection(
        edge_frequency=_squares(theta, len(names)),
        instability=instability,
        monotone_instability=monotone,
        n_fits=n_fits,
        alphas=path,
        alpha=None if path is None or selected is None else float(path[selected]),
        selected=selected,
        subsample_size=size,
        part_names=tuple(names),
    )


def _size(subsample_size: Any, n: int) -> int:
    if isinstance(subsample_size, str) and subsample_size == "auto":
        return int(10 * math.sqrt(n)) if n > 144 else int(0.8 * n)
    if isinstance(subsample_size, str):
        raise ValueError(
            f'subsample_size must be "auto" or an integer below the number of rows; got {subsample_size!r}.'
        )
    return check_integer(subsample_size, "subsample_size", low=3, high=n - 1)


def _subsample(root: int, number: int, n: int, size: int) -> NDArray[np.intp]:
    """Rows of one subsample: a function of its number, never of the order in which tasks run."""
    rng = np.random.default_rng(np.random.SeedSequence(root, spawn_key=(number,)))
    return np.sort(rng.choice(n, size=size, replace=False)).astype(np.intp)


def _check_path(alphas: Any, key: str | None) -> Array | None:
    if key is None:
        if alphas is not None:
            raise ValueError("alphas must be None for an estimator without a parameter alpha: it has one network only.")
        return None
    if alphas is None:
        return np.geomspace(1.0, 0.05, 20)
    path = np.unique(np.asarray(alphas, dtype=np.float64).ravel())[::-1]
    if len(path) == 0 or not (np.isfinite(path).all() and (path > 0).all()):
        raise ValueError(f"alphas must hold one or more finite numbers above 0; got {alphas!r}.")
    return path


def _count(plan: Plan, n_parts: int, bounded: bool, threshold: float) -> tuple[Array, NDArray[np.intp], int]:
    """Number of subsamples with each edge, number of subsamples fitted, last penalty that may be selected."""
    n_alphas = 1 if plan.alphas is None else len(plan.alphas)
    counts = np.zeros((n_alphas, n_parts * (n_parts - 1) // 2))
    n_fits = np.zeros(n_alphas, dtype=np.intp)
    first, last, start = 0, n_alphas - 1, 0
    if bounded and len(plan.rows) > _N_BRACKET:
        start = _N_BRACKET
        run_tasks(plan, [(b, a) for b in range(start) for a in range(n_alphas)], counts, n_fits)
        first, last = _bracket(counts / start, threshold)
    tasks = [(b, a) for b in range(start, len(plan.rows)) for a in range(first, last + 1)]
    run_tasks(plan, tasks, counts, n_fits)
    return counts, n_fits, last


def _bracket(theta: Array, threshold: float) -> tuple[int, int]:
    """First and last position that still have to be settled, from frequencies over two subsamples."""
    mean = theta.mean(axis=1)
    upper = np.maximum.accumulate(2 * mean * (1 - mean))
    lower = np.maximum.accumulate(np.mean(2 * theta * (1 - theta), axis=1))
    certain = np.flatnonzero(upper <= threshold)
    possible = np.flatnonzero(lower <= threshold)
    first = int(certain[-1]) if len(certain) else 0
    return first, max(int(possible[-1]) if len(possible) else 0, first)


def _squares(theta: Array, n_parts: int) -> Array:
    out = np.zeros((len(theta), n_parts, n_parts))
    first, second = np.triu_indices(n_parts, 1)
    out[:, first, second] = out[:, second, first] = theta
    return out
