"""Section C: the glass cups with shrinkage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.rows import Row, near, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.composition.common import CUPS_ABSENT, cups, listed, pair
from causalkit.composition import CompositionalPartialCorrelation, shrink_covariance

__all__ = ["rows"]

_PAIRS = ("Si-Al", "Fe-Al", "Si-Fe", "Ca-Na")
_LISTED = {
    "basis": (".623465", ".588440", "-.542880", ".572914"),
    "invariant": (".414801", ".340395", "-.286261", ".459362"),
}
_KAPPA = {"basis": (37.7, 0.3), "invariant": (46.4, 0.4)}


def rows(tier: Tier) -> Iterator[Row]:
    """C1 intensities, C2 basis, C3 invariant, C4 towards the identity."""
    X = cups()
    if X is None:
        yield skipped("C1", "glass cups, shrunken: intensities, partial correlations, tests", CUPS_ABSENT)
        return
    weight = np.arange(1, len(X) + 1) / 1128
    for number, (what, shrunk, lam, lam_variance) in enumerate(
        (
            ("basis", shrink_covariance(X), 0.0591229332037, 0.0814671156855),
            ("basis, weights i/1128", shrink_covariance(X, "basis", weight), 0.0800512760687, 0.0657030871643),
        )
    ):
        yield near(f"C1.{number + 1}a", f"{what}: λ", shrunk.intensity, lam, 1e-10)
        yield near(f"C1.{number + 1}b", f"{what}: λ of the variances", shrunk.variance_intensity, lam_variance, 1e-10)
    columns = shrink_covariance(X, "logratio")
    yield listed("C1.3a", "CLR columns: λ", columns.intensity, ".193441")
    yield listed("C1.3b", "CLR columns: λ of the variances", columns.variance_intensity, ".0780513")
    yield listed("C1.4", "invariant: λ", shrink_covariance(X, "invariant").intensity, ".286621")
    yield listed("C1.5", "Ledoit-Wolf: λ", shrink_covariance(X, "ledoit_wolf").intensity, ".146007")
    yield listed("C1.6", "OAS: λ", shrink_covariance(X, "oas").intensity, ".154474")
    for number, (method, texts) in enumerate(_LISTED.items()):
        label = f"C{number + 2}"
        fit = CompositionalPartialCorrelation(shrinkage=method).fit(X)
        for k, (names, text) in enumerate(zip(_PAIRS, texts, strict=True)):
            yield listed(f"{label}.{k + 1}", f"{method}: r of {names}", fit.partial_correlation_[pair(X, names)], text)
        kappa, tolerance = _KAPPA[method]
        yield near(f"{label}.5", f"{method}: κ of the simulated null", fit.dof_ + 1, kappa, tolerance)
        if method == "basis":
            upper = np.triu_indices(X.shape[1], 1)
            yield near(f"{label}.6", "basis: pairs with p ≤ .05", int((fit.pvalues_[upper] <= 0.05).sum()), 7, 0)
            edges = fit.to_frame(max_qvalue=0.05)
            found = {frozenset(edge) for edge in zip(edges["part_a"], edges["part_b"], strict=True)}
            wanted = {frozenset(("Si", "Fe")), frozenset(("Al", "Fe"))}
            yield near(f"{label}.7", "basis: edges at q ≤ .05 beside Si-Fe and Al-Fe", len(found ^ wanted), 0, 0)
