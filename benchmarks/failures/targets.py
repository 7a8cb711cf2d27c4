"""Calls that are given bad input: every estimator of the contract tests, with its small data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import clone

from causalkit.graph import Graph
from tests.contract.registry import CASES, ContractCase

__all__ = ["Target", "targets"]

# How messages of a family call what the arguments hold.
_WORDS = {
    "debiasing": ("predictions", "the calibration sample", "the trial"),
    "composition": ("parts", "the log-ratio covariance"),
    "extrapolation": ("actions", "features"),
}


@dataclass(frozen=True)
class Target:
    """An estimator, what it is fitted on and what it is asked.

    Attributes
    ----------
    name, family : str
    make : callable
        An unfitted estimator.
    rows : dict of str to array-like
        Row-wise arguments of ``fit``.
    optional : dict of str to array-like
        Further row-wise arguments, passed when they are what is changed.
    fixed : dict of str to object
        Arguments of ``fit`` that have no rows, such as a graph.
    method : str
        What is called after the fit.
    new : dict of str to array-like
        Row-wise arguments of that method.
    """

    name: str
    family: str
    make: Callable[[], Any]
    rows: dict[str, Any]
    optional: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    method: str = "predict"
    new: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that a message may use."""
        estimator = self.make()
        found = [*inspect.signature(estimator.fit).parameters, *inspect.signature(self.call(estimator)).parameters]
        return tuple(dict.fromkeys([*found, *estimator.get_params(deep=False), *_WORDS.get(self.family, ())]))

    def call(self, estimator: Any) -> Any:
        """The method that is called after the fit."""
        return getattr(estimator, self.method)


def _family(case: ContractCase) -> str:
    return str(next(cls.__module__ for cls in type(case.estimator).__mro__ if cls.__module__.startswith("causalkit")))


def _plain(case: ContractCase) -> Callable[[], Any]:
    """Maker of an estimator of the library itself: adapters make their network from the rows."""
    cls = next(cls for cls in type(case.estimator).__mro__ if cls.__module__.startswith("causalkit"))
    return lambda: cls(**clone(case.estimator).get_params(deep=False))


def _uses_outcome(case: ContractCase) -> bool:
    return inspect.signature(_plain(case)().fit).parameters["y"].default is inspect.Parameter.empty or (
        _family(case).split(".")[1] not in ("composition", "graph") and case.name != "linear_invariance_encoder"
    )


def _of_case(case: ContractCase) -> Target:
    data = case.make_data()
    return Target(
        name=case.name,
        family=_family(case).split(".")[1],
        make=_plain(case),
        rows={"X": data.X, "y": data.y, **data.fit_params} if _uses_outcome(case) else {"X": data.X, **data.fit_params},
        optional=data.optional_params,
        method=case.method,
        new={"X": data.X_new},
    )


def _on_graph(case: ContractCase) -> Target:
    """Rows are nodes of a ring with chords; treatments and predictions of the nuisances are part of the data."""
    base, n = _of_case(case), len(case.make_data().X)
    edges = [(i, (i + step) % n) for i in range(n) for step in (1, 7)]
    graph, rng = Graph.from_edges(edges, n_nodes=n), np.random.default_rng(3)
    accepted = inspect.signature(base.make().fit).parameters
    extra = {
        "treatment": rng.integers(0, 2, n),
        "outcome_predictions": 0.1 * rng.normal(size=n),
        "treatment_predictions": np.full(n, 0.5),
        "exposure_values": rng.normal(size=n),
        "exposure_mean": np.zeros(n),
        "exposure_variance": np.ones(n),
        "nodes": np.arange(n),
    }
    rows = base.rows | {name: value for name, value in extra.items() if name in accepted}
    optional = {name: value for name, value in base.optional.items() if name in accepted}
    new = {"X": base.rows["X"], "nodes": np.arange(n)}
    return Target(base.name, "graph", base.make, rows, optional, {"graph": graph}, base.method, new)


def _further(target: Target) -> Iterator[Target]:
    """Second questions to some estimators."""
    rng = np.random.default_rng(4)
    parts = {part: getattr(target, part) for part in ("family", "make", "rows", "optional", "fixed")}
    if target.name in ("clr", "ilr", "alr", "box_cox_clr"):
        coordinates = target.make().fit_transform(target.rows["X"])
        yield Target(f"{target.name}_inverse", method="inverse_transform", new={"X": coordinates}, **parts)
    if target.name in ("linear", "tweedie", "spline", "hierarchical"):
        new = {"predictions": target.new["X"].iloc[:, 0], "treatment": rng.integers(0, 2, len(target.new["X"]))}
        yield Target(f"{target.name}_effect", method="effect", new=new, **parts)
    if target.name in ("reward_fixed_effects", "reward_partially_linear"):
        new = {"X": target.rows["X"], "y": target.rows["y"], "confounders": target.rows["confounders"]}
        yield Target(f"{target.name}_adjusted", method="transform", new=new, **parts)
    if target.name == "network":
        frozen = {"X": target.rows["X"]}
        yield Target("network_stream", **parts | {"rows": frozen}, method="score", new=target.new)


@cache
def targets() -> tuple[Target, ...]:
    """All of them, in the order of the contract's registry."""
    out: list[Target] = []
    for case in CASES:
        target = _on_graph(case) if _family(case).startswith("causalkit.graph") else _of_case(case)
        out += [target, *_further(target)]
    return tuple(out)
