"""GraphKFold: folds with few edges between them, and training rows at a distance from the held-out ones."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator

from causalkit.exceptions import FoldError
from causalkit.graph.alignment import check_graph, row_positions
from causalkit.graph.partition import PARTITIONERS, partition
from causalkit.validation import check_choice, check_groups, check_integer

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.graph.graph import Graph

__all__ = ["GraphKFold"]

Rows = NDArray[np.intp]


class GraphKFold(BaseCrossValidator):
    r"""Folds of the nodes of a network.

    With ``method="cluster"`` the network is cut into ``n_splits * parts_per_fold`` parts with few edges between
    them, and the parts are dealt at random into folds of equal size. Training rows of a fold are the rows of the
    other folds farther than ``buffer`` steps from it,

    .. math:: \mathrm{train}_k = \{i \notin k : \min_{j \in k} \ell(i, j) > r\},

    so that neither the labels nor the treatments of held-out nodes reach a model through r steps of message
    passing. Distances ignore directions.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    method : {"cluster", "random"}, default="cluster"
        "random" deals the rows one by one.
    parts_per_fold : int, default=10
        Parts of each fold. More parts spread a fold over the network, fewer keep it apart from the others.
    partitioner : {"auto", "metis", "label_propagation", "louvain"}, default="auto"
        "auto" is METIS where pymetis is installed, else label propagation with a cap on the size of a part. The
        communities of "louvain" (networkx) are cut up where they exceed half a fold.
    buffer : int, default=0
        r; 0 removes nothing.
    min_train_share : float, default=0.25
        Smallest share of the rows of the other folds that the buffer may leave.
    random_state : int, RandomState, Generator or None, default=None
        Seed; an integer gives the same folds at every call.

    Attributes
    ----------
    report_ : DataFrame
        Of the latest ``split``, one row per fold: ``fold``, ``n_test``, ``n_train``, ``train_share`` (share of the
        rows of the other folds that survive the buffer), ``cut_share`` (share of the edge ends of the held-out
        nodes that lead out of the fold).

    Raises
    ------
    FoldError
        Fewer rows or groups than folds, or a buffer that leaves too few training rows.
    AlignmentError
        Rows cannot be matched to nodes.
    MissingDependencyError
        The partitioner asked for is not installed.

    Notes
    -----
    ``groups`` are parts that are never divided, and take the place of the partition. Folds are then as equal as the
    groups allow. Metadata routing passes ``graph``, ``nodes`` and ``groups`` to ``split`` without a request.

    References
    ----------
    Karypis & Kumar (1998), A fast and high quality multilevel scheme for partitioning irregular graphs, SIAM
    Journal on Scientific Computing 20; Emmenegger, Spohn & Bühlmann, arXiv:2206.14591, section 3 (training rows
    apart from the held-out ones).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.graph import Graph, GraphKFold
    >>> ring = Graph.from_edges([(i, (i + 1) % 200) for i in range(200)], n_nodes=200)
    >>> folds = GraphKFold(4, parts_per_fold=5, partitioner="label_propagation", buffer=1, random_state=0)
    >>> train, test = next(folds.split(np.zeros((200, 1)), graph=ring))
    >>> bool(np.isin((test + 1) % 200, train).any())
    False
    """

    # Defaults of scikit-learn's metadata routing.
    __metadata_request__split: ClassVar[dict[str, bool]] = {"graph": True, "nodes": True, "groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        method: str = "cluster",
        parts_per_fold: int = 10,
        partitioner: str = "auto",
        buffer: int = 0,
        min_train_share: float = 0.25,
        random_state: Any = None,
    ) -> None:
        self.n_splits = n_splits
        self.method = method
        self.parts_per_fold = parts_per_fold
        self.partitioner = partitioner
        self.buffer = buffer
        self.min_train_share = min_train_share
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, **_: Any) -> int:
        """Number of folds."""
        return check_integer(self.n_splits, "n_splits", low=2)

    def split(
        self, X: Any, y: Any = None, groups: Any = None, *, graph: Any = None, nodes: Any = None
    ) -> Iterator[tuple[Rows, Rows]]:
        """Training and held-out rows of every fold.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Only its number of rows, and the index of a frame, are used.
        y : object
            Ignored.
        groups : array-like, shape (n,), optional
            Parts that are not divided.
        graph : Graph
            The network.
        nodes : array-like, shape (n,), optional
            Node of each row.

        Returns
        -------
        iterator of (train, test)
            All folds are ready, and ``report_`` is set, before the first one is taken.
        """
        graph = check_graph(graph)
        self._check_parameters()
        positions = row_positions(X, graph, nodes)
        folds = self._folds(graph, positions, groups)
        splits, report = self._splits(graph, positions, folds)
        self.report_ = report
        return iter(splits)

    # How messages name what the user set: a learner that makes these folds for cv=5 has other parameters.
    _count_name: ClassVar[str] = "n_splits"
    _buffer_remedy: ClassVar[str] = "Lower buffer, parts_per_fold or min_train_share"
    _parts_remedy: ClassVar[str] = 'raise parts_per_fold, or use method="random"'

    # ------------------------------------------------------------------ steps

    def _check_parameters(self) -> None:
        check_integer(self.n_splits, "n_splits", low=2)
        check_choice(self.method, "method", ("cluster", "random"))
        check_integer(self.parts_per_fold, "parts_per_fold", low=1)
        check_choice(self.partitioner, "partitioner", PARTITIONERS)
        check_integer(self.buffer, "buffer", low=0)
        share = self.min_train_share
        if isinstance(share, bool) or not isinstance(share, int | float | np.number) or not 0 <= share <= 1:
            raise ValueError(f"min_train_share must be a share between 0 and 1; got {share!r}.")

    def _folds(self, graph: Graph, positions: Rows, groups: Any) -> Rows:
        """Fold of every row."""
        n, k, name = len(positions), self.n_splits, self._count_name
        if n < k:
            raise FoldError(f"{name}={k} folds need at least {k} rows, got {n}: lower {name}.")
        rng = np.random.default_rng(_seed(self.random_state))
        if groups is not None:
            checked = check_groups(groups, n, like="X")
            if checked is None or checked.n_groups < k:
                raise FoldError(
                    f"groups has {0 if checked is None else checked.n_groups} groups, fewer than {name}={k}: lower "
                    f"{name}, or leave groups out so that the network is cut into parts."
                )
            return deal(checked.codes, k, rng, divisible=False)
        if self.method == "random":
            return rng.permutation(np.arange(n) % k)
        whole = np.array_equal(positions, np.arange(graph.n_nodes))
        skeleton = graph.skeleton() if whole else graph.skeleton()[positions][:, positions]
        n_parts = min(n, k * self.parts_per_fold)
        labels = partition(skeleton, n_parts, self.partitioner, max(1, n // (2 * k)), int(rng.integers(2**31 - 1)))
        if len(np.unique(labels)) < k:
            raise FoldError(
                f"the network was cut into {len(np.unique(labels))} parts, fewer than {name}={k}: {self._parts_remedy}."
            )
        return deal(labels, k, rng, divisible=True)

    def _splits(self, graph: Graph, positions: Rows, folds: Rows) -> tuple[list[tuple[Rows, Rows]], pd.DataFrame]:
        import pandas as pd

        skeleton = graph.skeleton()
        splits, table, closer = [], [], []
        for fold in range(self.n_splits):
            test = np.flatnonzero(folds == fold)
            rest = np.flatnonzero(folds != fold)
            steps = steps_from(skeleton, positions[test], self.buffer)[positions[rest]]
            train = rest[steps > self.buffer]
            closer.append(float((steps > self.buffer - 1).mean()))
            inside = np.zeros(graph.n_nodes, bool)
            inside[positions[test]] = True
            ends = int(np.diff(skeleton.indptr)[inside].sum())
            kept = int(inside[skeleton[positions[test]].indices].sum())
            table.append(
                {
                    "fold": fold,
                    "n_test": len(test),
                    "n_train": len(train),
                    "train_share": len(train) / len(rest),
                    "cut_share": (ends - kept) / max(ends, 1),
                }
            )
            splits.append((train, test))
        report = pd.DataFrame(table)
        self._check_survivors(report["train_share"].to_numpy(), closer)
        return splits, report

    def _least_share(self) -> str:
        return f"min_train_share={self.min_train_share:g}"

    def _check_survivors(self, shares: NDArray[np.float64], closer: list[float]) -> None:
        short = np.flatnonzero((shares < self.min_train_share) | (shares == 0))
        if len(short) == 0:
            return
        listed = ", ".join(f"fold {k}: {shares[k]:.0%}" for k in short[:10])
        alternative = "" if self.method == "cluster" else ', or method="cluster", whose folds have fewer neighbours'
        raise FoldError(
            f"buffer={self.buffer} leaves less than {self._least_share()} of the rows of the other "
            f"folds to train on ({listed}). With buffer={self.buffer - 1} at least {min(closer):.0%} would be left. "
            f"{self._buffer_remedy}{alternative}."
        )


def _seed(random_state: Any) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return check_integer(random_state, "random_state", low=0)


def deal(labels: Rows, n_folds: int, rng: np.random.Generator, *, divisible: bool) -> Rows:
    """Fold of every row, whole parts dealt so that folds get equal numbers of rows.

    Parts go from the largest to the smallest, equal ones in random order, to the fold that is smallest so far. What a
    fold then has too many is taken from its smallest parts, if parts may be divided.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Part of each row.
    n_folds : int
        Number of folds.
    rng : Generator
        Source of the order.
    divisible : bool
        Whether parts may be divided, so that folds differ by one row at most.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of = np.empty(len(sizes), dtype=np.intp)
    # Ties between folds go to a random one: otherwise the folds of equal parts would repeat one pattern.
    heap = [(0, int(tie), fold) for fold, tie in enumerate(rng.permutation(n_folds))]
    for part in order.tolist():
        rows, tie, fold = heapq.heappop(heap)
        fold_of[part] = fold
        heapq.heappush(heap, (rows + int(sizes[part]), tie, fold))
    folds = fold_of[codes]
    if not divisible:
        return folds
    rows_of = np.bincount(folds, minlength=n_folds)
    quota = np.full(n_folds, len(folds) // n_folds)
    quota[np.argsort(-rows_of, kind="stable")[: len(folds) % n_folds]] += 1
    rank = np.empty(len(sizes), dtype=np.intp)
    rank[order] = np.arange(len(sizes))
    # Within each fold the rows of the parts dealt last come first: those are its smallest parts.
    by_fold = np.lexsort((-rank[codes], folds))
    place = np.arange(len(folds)) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of)
    moved = by_fold[place < np.repeat(np.maximum(rows_of - quota, 0), rows_of)]
    folds[moved] = np.repeat(np.arange(n_folds), np.maximum(quota - rows_of, 0))
    return folds


def steps_from(skeleton: Any, sources: Rows, limit: int) -> NDArray[np.int64]:
    """Distance of every node from a set of nodes; ``limit + 1`` beyond the limit.

    Parameters
    ----------
    skeleton : csr_array, shape (n, n)
        Symmetric pattern.
    sources : ndarray of int
        Nodes at distance 0.
    limit : int
        Largest distance of interest.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    steps = np.full(skeleton.shape[0], limit + 1)
    steps[sources] = 0
    reached = np.zeros(skeleton.shape[0], np.float32)
    reached[sources] = 1.0
    for distance in range(1, limit + 1):
        spread = (skeleton @ reached > 0) & (steps > limit)
        if not spread.any():
            break
        steps[spread] = distance
        reached[spread] = 1.0
    return steps
