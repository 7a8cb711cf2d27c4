"""Where the exposures of the rows come from: mappings over the network, or numbers of the user's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError, MethodNotApplicableError
from causalkit.graph.graph import Graph
from causalkit.graph.inputs import NodeRows, check_exposure, check_same_rows
from causalkit.graph.spillover_exposures import Exposure, ExposureMoments, exposure_moments, resolve_exposures
from causalkit.validation import check_magnitude, check_matrix, check_vector

__all__ = ["ExposureSource", "exposure_source", "mapped_source"]

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ExposureSource:
    """Exposures of some rows and their moments, whatever they come from.

    Attributes
    ----------
    graph : Graph
        The network.
    positions : ndarray of int, shape (n,)
        Node of each row.
    mappings : list of Exposure, or None
        None where the numbers are given.
    given : ExposureMoments or None
        The numbers that the user gave.
    ends : tuple of two ndarrays, shape (N, J), or None
        Exposures of all nodes with everybody and with nobody treated; None: computed from the mappings when needed.
    """

    graph: Graph
    positions: Positions
    mappings: list[Exposure] | None
    given: ExposureMoments | None = None
    ends: tuple[Array, Array] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the exposures."""
        if self.given is not None:
            return self.given.names
        return tuple(one.name for one in self.mappings or [])

    @property
    def reach(self) -> int:
        """K, the number of steps over which a treatment acts."""
        return max((one.reach for one in self.mappings or []), default=1)

    def values(self, treatment: Array) -> Array:
        """Exposures of the rows, shape (n, J)."""
        if self.given is not None:
            return self.given.values
        whole = self._spread(treatment)
        return np.column_stack([one.values(whole, self.graph)[self.positions] for one in self.mappings or []])

    def moments(self, treatment: Array, propensity: Array, seed: int) -> ExposureMoments:
        """Moments of the rows under the propensities of the rows."""
        if self.given is not None:
            return self.given
        found = exposure_moments(
            self.mappings or [], self.graph, self._spread(treatment), self._spread(propensity), seed=seed
        )
        return found.rows(self.positions)

    def extremes(self) -> tuple[Array, Array]:
        """Exposures of the rows when everybody is treated, and when nobody is, shape (n, J) each.

        Raises
        ------
        MethodNotApplicableError
            The exposures are numbers of the user's.
        """
        if self.mappings is None:
            raise MethodNotApplicableError(
                "the exposure when everybody is treated is unknown for exposure_values: pass a mapping as exposure= "
                'for the total effect, or add the effects that ate(effect=["direct", "spillover"]) gives by contrast.'
            )
        full, none = self._ends() if self.ends is None else self.ends
        return full[self.positions], none[self.positions]

    def _ends(self) -> tuple[Array, Array]:
        n = self.graph.n_nodes
        full, none = (
            np.column_stack([one.values(t, self.graph) for one in self.mappings or []])
            for t in (np.ones(n), np.zeros(n))
        )
        return full, none

    def finished(self) -> ExposureSource:
        """The same with what needs a function of the user's computed, so that a file need not hold the function."""
        functions = any(one.function is not None for one in self.mappings or [])
        return replace(self, ends=self._ends()) if functions else self

    def at(self, graph: Graph, positions: Positions) -> ExposureSource:
        """The same exposures for other rows, of this or of another graph."""
        if self.mappings is None:
            return self  # numbers of the user's: extremes() says why there are none
        if graph is self.graph:
            return replace(self, positions=positions)
        return ExposureSource(graph, positions, [one.on(graph) for one in self.mappings])

    def with_functions(self, exposure: Any, treatment: Array, observed: Array) -> ExposureSource:
        """The same after loading, with functions in their places.

        Parameters
        ----------
        exposure : callable, or list as in the fit
            What the fit was given.
        treatment : ndarray, shape (n,)
            Treatments of the fit.
        observed : ndarray, shape (n, J)
            Exposures of the fit, which the functions have to give again.

        Raises
        ------
        ValueError
            Other exposures than those of the fit.
        """
        found = [] if self.mappings is None else resolve_exposures(self.graph, exposure)
        kept = self.mappings or []
        alike = len(found) == len(kept) and all(
            (one.function is None) == (old.function is None) for one, old in zip(found, kept, strict=True)
        )
        if not alike:
            raise ValueError(
                f"exposure must be what the fit was given, {', '.join(self.names)}, with functions in the same places; "
                f"got {exposure!r}."
            )
        mappings = [
            old if old.function is None else replace(old, function=one.function)
            for one, old in zip(found, kept, strict=True)
        ]
        source = replace(self, mappings=mappings)
        off = ~np.isclose(source.values(treatment), observed, rtol=1e-6, atol=1e-9)
        if off.any():
            row, column = np.argwhere(off)[0]
            raise ValueError(
                f"exposure: {mappings[column].name} is not the function of the fit, because it gives other exposures "
                f"for its treatments in {int(off.any(axis=1).sum())} of {len(off)} rows (first: row {int(row)}). Pass "
                "the function that was used there."
            )
        return source

    def _spread(self, values: Array) -> Array:
        """Values of all nodes; nodes without a row are not neighbours of any."""
        if len(self.positions) == self.graph.n_nodes and np.array_equal(self.positions, np.arange(len(values))):
            return values
        whole = np.zeros(self.graph.n_nodes)
        whole[self.positions] = values
        return whole


def exposure_source(rows: NodeRows, exposure: Any, values: Any, mean: Any, variance: Any) -> ExposureSource:
    """Check where the exposures come from.

    Parameters
    ----------
    rows : NodeRows
        Rows of the fit.
    exposure : str, tuple, sparse matrix, callable or list
        Mapping, used unless numbers are given.
    values, mean, variance : array-like or None
        Exposures of the rows, shape (n,) or (n, J), and their mean and variance given covariates and graph, shapes
        (n,) or (n, J), and (n,) or (n, J, J).

    Returns
    -------
    ExposureSource

    Raises
    ------
    ValueError
        Neighbours without a row, only some of the three, shapes or variances that make no sense.
    IdentificationError
        An exposure that is the treatment in other words.
    """
    three = {"exposure_values": values, "exposure_mean": mean, "exposure_variance": variance}
    absent = [name for name, value in three.items() if value is None]
    if len(absent) == 3:
        source = mapped_source(rows.graph, rows.positions, exposure)
        found = source.values(rows.treatment.values)
        check_exposure(found, rows.n_rows, rows.treatment.values)
        _require_spread(found, source.names)
        return source
    if absent:
        lacking = _lacking(rows.graph, rows.positions)
        raise ValueError(
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing: pass all three of exposure_values, "
            f"exposure_mean and exposure_variance, or none of them ({lacking} neighbours of the rows have no row, so "
            f"that the exposure {'cannot' if lacking else 'can'} be computed from the treatments)."
        )
    check_same_rows(rows.X, **three)
    found = check_exposure(values, rows.n_rows, rows.treatment.values)
    names = check_matrix(values, "exposure")[1]
    names = names if hasattr(values, "columns") or found.shape[1] > 1 else ["exposure"]
    if len(set(names)) < len(names):
        raise ValueError(
            f"exposure_values has column names that occur more than once: {', '.join(map(str, names))}. Effects are "
            "known by the names of their exposures: rename the repeats."
        )
    if found.shape[1] == 0:
        raise ValueError("exposure_values has no columns: expected one per exposure.")
    _require_spread(found, tuple(names))
    given = _given(found, mean, variance, rows.n_rows, tuple(names))
    return ExposureSource(rows.graph, rows.positions, None, given)


def _require_spread(values: Array, names: tuple[str, ...]) -> None:
    """Refuse exposures that are the same for every row, before any model is fitted."""
    for name, column in zip(names, values.T, strict=True):
        if column.min() == column.max():
            raise IdentificationError(
                f"the exposure {name!r} is {column[0]:g} for every row, so its residual variance is 0: no row has a "
                "neighbour, or everybody is equally exposed. Use another exposure, or GraphRLearner for the direct "
                "effect alone."
            )


def _given(values: Array, mean: Any, variance: Any, n: int, names: tuple[str, ...]) -> ExposureMoments:
    count = values.shape[1]
    means, _ = check_matrix(mean, "exposure_mean", n_rows=n, like="X")
    check_magnitude(means, "exposure_mean")
    if means.shape != values.shape:
        raise ValueError(f"exposure_mean has shape {means.shape}, expected {values.shape} like exposure_values.")
    if count == 1:
        covariance = check_vector(variance, "exposure_variance", n_rows=n, like="X")[:, None, None]
    else:
        covariance = np.asarray(variance, dtype=np.float64)
        if covariance.shape != (n, count, count) or not np.isfinite(covariance).all():
            raise ValueError(
                f"exposure_variance must hold the covariance of the {count} exposures of each row, finite, shape "
                f"({n}, {count}, {count}); got shape {covariance.shape}."
            )
        if not np.allclose(covariance, covariance.transpose(0, 2, 1)):
            raise ValueError("exposure_variance must hold symmetric matrices: got some that are not.")
    smallest = np.linalg.eigvalsh(covariance)[:, 0]
    bad = smallest < -1e-8 * np.abs(covariance).max()
    if bad.any():
        raise ValueError(
            f"exposure_variance must not be negative: {int(bad.sum())} of {n} rows are (first: row "
            f"{int(np.argmax(bad))}, {smallest[bad][0]:.4g})."
        )
    unknown = np.full(values.shape, np.nan)
    return ExposureMoments(values, means, covariance, unknown, unknown, unknown, names, 1)


_REMEDY = "Pass rows for all nodes, or all three of exposure_values, exposure_mean and exposure_variance"


def mapped_source(graph: Graph, positions: Positions, exposure: Any, remedy: str = _REMEDY) -> ExposureSource:
    """Exposures by mappings, after the check that every treatment that they need has a row; else ``remedy`` is said."""
    mappings = resolve_exposures(graph, exposure)
    if len(positions) == graph.n_nodes:
        return ExposureSource(graph, positions, mappings)
    present = np.zeros(graph.n_nodes, dtype=bool)
    present[positions] = True
    needed = np.zeros(graph.n_nodes, dtype=bool)
    for one in mappings:
        if one.mapping is None:
            needed[:] = True
        else:
            needed[one.mapping.weights[positions].indices] = True
    lacking = np.flatnonzero(needed & ~present)
    if len(lacking):
        raise ValueError(
            f"exposure needs the treatment of every neighbour: {len(lacking)} nodes that the rows are exposed to have "
            f"no row (first: {', '.join(map(repr, graph.nodes[lacking[:5]].tolist()))}). {remedy}."
        )
    return ExposureSource(graph, positions, mappings)


def _lacking(graph: Graph, positions: Positions) -> int:
    present = np.zeros(graph.n_nodes, dtype=bool)
    present[positions] = True
    needed = np.zeros(graph.n_nodes, dtype=bool)
    needed[graph.adjacency("binary")[positions].indices] = True
    return int((needed & ~present).sum())
