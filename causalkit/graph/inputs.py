"""What a learner on a graph is given, checked and coded once: rows, treatment, exposure, weights, clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import AlignmentError, IdentificationError
from causalkit.graph.alignment import check_graph, row_positions
from causalkit.graph.features import check_features
from causalkit.validation import (
    Groups,
    as_array,
    check_choice,
    check_groups,
    check_magnitude,
    check_sample_weight,
    check_vector,
)

if TYPE_CHECKING:
    from causalkit.graph.graph import Graph

__all__ = [
    "CodedTreatment",
    "NodeRows",
    "check_exposure",
    "check_rows",
    "check_same_rows",
    "code_treatment",
    "probability_predictions",
]

Array = NDArray[np.float64]

_MOST_LEVELS = 10


@dataclass(frozen=True, eq=False)
class CodedTreatment:
    """A treatment as numbers.

    Attributes
    ----------
    kind : {"binary", "multi", "continuous"}
        What it is.
    values : ndarray of float64, shape (n,)
        Codes 0..L-1 of discrete levels, the values of a continuous treatment.
    levels : ndarray, shape (L,), or None
        Sorted levels; the first is the reference.
    """

    kind: str
    values: Array
    levels: NDArray[Any] | None

    @property
    def n_levels(self) -> int:
        """L, or 0 for a continuous treatment."""
        return 0 if self.levels is None else len(self.levels)

    @property
    def n_effects(self) -> int:
        """Columns of effects: L - 1, or 1."""
        return max(self.n_levels - 1, 1)

    def residuals(self, prediction: Array) -> Array:
        """T - e per effect, shape (n, L - 1) or (n, 1); ``prediction`` is (n, L), or (n, 1) if continuous."""
        if self.levels is None:
            return self.values[:, None] - prediction
        taken = self.values[:, None] == np.arange(1, self.n_levels)
        return taken - prediction[:, 1:]

    def coded_like(self, treatment: Any, n_rows: int) -> CodedTreatment:
        """Code treatments of other rows by the levels known here."""
        import pandas as pd

        if self.levels is None:
            return CodedTreatment(self.kind, check_vector(treatment, "treatment", n_rows=n_rows, like="X"), None)
        if treatment is None:
            raise ValueError("treatment is missing: expected one value per row, got None. Pass treatment=.")
        array = np.asarray(treatment.to_numpy() if hasattr(treatment, "to_numpy") else treatment)
        if array.shape not in ((n_rows,), (n_rows, 1)):
            raise ValueError(f"treatment must hold one value per row: expected ({n_rows},), got shape {array.shape}.")
        codes = pd.Index(self.levels).get_indexer(array.reshape(n_rows))
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            raise ValueError(
                f"treatment has {int((codes < 0).sum())} values that fit did not see (first: row {row}, "
                f"{array.reshape(n_rows)[row]!r}): expected one of {self.levels.tolist()}."
            )
        return CodedTreatment(self.kind, codes.astype(np.float64), self.levels)

    def contrast(self, T0: Any, T1: Any) -> Array:
        """Weights (k,) of the effects in the effect of going from T0 to T1.

        0 and 1 mean the first and the second level where they are not both levels.
        """
        if self.levels is None:
            try:
                return np.array([float(T1) - float(T0)])
            except (TypeError, ValueError):
                raise ValueError(f"T0 and T1 must be numbers, as the treatment is; got {T0!r} and {T1!r}.") from None
        known = self.levels.tolist()
        for name, value in (("T0", T0), ("T1", T1)):
            if isinstance(value, list | np.ndarray) or hasattr(value, "to_numpy"):
                raise ValueError(
                    f"{name} must be one level of the treatment, {known}, for all rows; got {type(value).__name__}. "
                    "Combine columns of const_marginal_effect() for levels that differ between rows."
                )
        found = []
        numbered = T0 in (0, 1) and T1 in (0, 1) and not (T0 in known and T1 in known)
        for name, value in (("T0", T0), ("T1", T1)):
            if numbered:
                found.append(int(value))
            elif value in known:
                found.append(known.index(value))
            else:
                raise ValueError(f"{name} must be a level of the treatment, {known}; got {value!r}.")
        return np.eye(len(known))[found[1], 1:] - np.eye(len(known))[found[0], 1:]


@dataclass(frozen=True, eq=False)
class NodeRows:
    """Checked rows.

    Attributes
    ----------
    X : object
        Covariates as the user gave them.
    values : ndarray of float64, shape (n, p)
        The same as numbers.
    graph : Graph
        The network.
    positions : ndarray of int, shape (n,)
        Node of each row.
    outcome : ndarray of float64, shape (n,)
        y.
    treatment : CodedTreatment
        Treatment.
    weight : ndarray or None, shape (n,)
        Weights with mean 1.
    groups : Groups or None
        Clusters.
    exposure : ndarray of float64, shape (n, q), or None
        Exposures.
    """

    X: Any
    values: Array
    graph: Graph
    positions: NDArray[np.intp]
    outcome: Array
    treatment: CodedTreatment
    weight: Array | None
    groups: Groups | None
    exposure: Array | None

    @property
    def nodes(self) -> Any:
        """Ids of the rows' nodes."""
        return self.graph.nodes[self.positions]

    @property
    def n_rows(self) -> int:
        """n."""
        return len(self.outcome)


def check_rows(
    X: Any,
    y: Any,
    *,
    treatment: Any,
    treatment_type: str,
    graph: Any,
    nodes: Any,
    exposure: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> NodeRows:
    """Check everything that belongs to the rows; nothing is stored anywhere.

    Raises
    ------
    TypeError, AlignmentError, ValueError, IdentificationError
        Naming the argument, what was expected, what was got, and what to do.
    """
    if y is None:
        raise ValueError("fit requires y to be passed, but the target y is None: pass the outcome of every row.")
    graph = check_graph(graph)
    values, _ = check_features(X)
    positions = row_positions(X, graph, nodes)
    n = len(values)
    check_same_rows(X, y=y, treatment=treatment, exposure=exposure, sample_weight=sample_weight, groups=groups)
    outcome = check_vector(y, "y", n_rows=n, like="X")
    coded = code_treatment(treatment, n, treatment_type)
    weight = check_sample_weight(sample_weight, n, like="X")
    return NodeRows(
        X,
        values,
        graph,
        positions,
        outcome,
        coded,
        None if weight is None else weight / weight.mean(),
        check_groups(groups, n, like="X"),
        None if exposure is None else check_exposure(exposure, n, coded.values),
    )


def check_same_rows(X: Any, /, **others: Any) -> None:
    """Refuse arguments whose index has the labels of that of X in another order.

    Raises
    ------
    AlignmentError
        Naming the argument.
    """
    from causalkit.validation import check_same_index

    for name, other in others.items():
        try:
            check_same_index(X, other, ("X", name))
        except ValueError as error:
            raise AlignmentError(str(error)) from None


def code_treatment(treatment: Any, n_rows: int, kind: str = "auto") -> CodedTreatment:
    """Code a treatment; "auto" takes two values as binary, up to ten integers or labels as levels, else continuous.

    Raises
    ------
    ValueError
        A missing value, one level only, more than ten with "multi", other than two with "binary", text that is to be
        continuous.
    """
    import pandas as pd

    check_choice(kind, "treatment_type", ("auto", "binary", "multi", "continuous"))
    if treatment is None:
        raise ValueError("treatment is missing: expected one value per row, got None. Pass treatment=.")
    array = as_array(treatment, "treatment")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != n_rows:
        raise ValueError(
            f"treatment must hold one value per row: expected shape ({n_rows},) like X, got shape {array.shape}. "
            "One-hot columns become one column of labels."
        )
    missing = np.asarray(pd.isna(array))
    if missing.any():
        raise ValueError(
            f"treatment has {int(missing.sum())} missing values (first: row {int(np.argmax(missing))}): drop these "
            "rows or code them as a level."
        )
    codes, levels = pd.factorize(array, sort=True)
    levels = np.asarray(levels)
    if len(levels) < 2:
        raise ValueError(
            f"treatment has one level, {levels.tolist()}: expected at least two. Effects compare units that were "
            "treated differently."
        )
    if kind == "auto":
        few = len(levels) <= _MOST_LEVELS and array.dtype.kind != "f"
        kind = "binary" if len(levels) == 2 else "multi" if few else "continuous"
    if kind == "continuous":
        doses = check_vector(treatment, "treatment", n_rows=n_rows, like="X")
        check_magnitude(doses, "treatment")
        return CodedTreatment("continuous", doses, None)
    if kind == "binary" and len(levels) != 2:
        raise ValueError(
            f'treatment has {len(levels)} levels, expected two with treatment_type="binary": use "multi", or '
            '"continuous".'
        )
    if len(levels) > _MOST_LEVELS:
        raise ValueError(
            f'treatment has {len(levels)} levels, more than the {_MOST_LEVELS} of treatment_type="multi": bin them, or '
            'treat it as "continuous".'
        )
    if array.dtype.kind == "f":
        check_vector(treatment, "treatment", n_rows=n_rows, like="X")  # infinity is no level
    return CodedTreatment("binary" if len(levels) == 2 else "multi", codes.astype(np.float64), levels)


def check_exposure(exposure: Any, n_rows: int, treatment: Array | None = None) -> Array:
    """Check exposures, (n,) or (n, q), and that none is the own treatment in other words."""
    from causalkit.validation import check_matrix

    values, names = check_matrix(exposure, "exposure", n_rows=n_rows, like="X")
    if treatment is None:
        return values
    for j, name in enumerate(names):
        pairs = np.unique(np.column_stack([values[:, j], treatment]), axis=0)
        if len(pairs) == len(np.unique(values[:, j])) == len(np.unique(treatment)):
            raise IdentificationError(
                f"exposure column {name!r} is the treatment, or a relabelling of it: it would condition on the "
                "treatment whose effect is wanted. An exposure is made of the treatments of other nodes, as by "
                "exposure_mapping(graph, treatment)."
            )
    return values


def probability_predictions(values: Any, coded: CodedTreatment) -> Array:
    """Check known treatment predictions, and return them as (n, L), or (n, 1) if continuous.

    Raises
    ------
    ValueError
        Another length, values outside [0, 1], rows that do not add up to 1.
    """
    n = len(coded.values)
    if coded.levels is None:
        means = check_vector(values, "treatment_predictions", n_rows=n, like="X")[:, None]
        check_magnitude(means, "treatment_predictions")
        return means
    array = as_array(values, "treatment_predictions")
    if array.ndim == 2 and array.shape[1] > 1:
        from causalkit.validation import check_matrix

        matrix, _ = check_matrix(values, "treatment_predictions", n_rows=n, like="X")
        if matrix.shape[1] != coded.n_levels:
            raise ValueError(
                f"treatment_predictions has {matrix.shape[1]} columns, expected {coded.n_levels}: one probability per "
                "level in sorted order."
            )
    elif coded.n_levels == 2:
        second = check_vector(values, "treatment_predictions", n_rows=n, like="X")
        matrix = np.column_stack([1 - second, second])
    else:
        raise ValueError(
            f"treatment_predictions has shape {array.shape}, expected ({n}, {coded.n_levels}): one probability per "
            "level in sorted order."
        )
    outside = ((matrix < 0) | (matrix > 1)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"treatment_predictions must lie in [0, 1]: range {matrix.min():.4g} to {matrix.max():.4g}, "
            f"{int(outside.sum())} rows outside (first: {np.flatnonzero(outside)[:5].tolist()}). Pass probabilities."
        )
    off = np.abs(matrix.sum(axis=1) - 1) > 1e-6
    if off.any():
        raise ValueError(
            f"the rows of treatment_predictions must add up to 1: {int(off.sum())} do not (first: "
            f"{np.flatnonzero(off)[:5].tolist()}, sum {matrix[off][0].sum():.4g})."
        )
    return matrix
