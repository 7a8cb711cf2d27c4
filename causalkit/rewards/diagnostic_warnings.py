"""Warnings that follow from the diagnostics of an adjustment."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from causalkit.exceptions import AdditivityWarning, BadControlWarning, NuisanceFitWarning, OverlapWarning
from causalkit.rewards.records import BASELINES

if TYPE_CHECKING:
    from causalkit.rewards.diagnostics import RewardDiagnostics

__all__ = ["problems_of", "warn_of"]


def problems_of(estimator: Any, found: RewardDiagnostics) -> list[tuple[type[Warning], str]]:
    """What deserves a warning, and its class; baselines are known to be wrong and get none."""
    problems: list[tuple[type[Warning], str]] = []
    if estimator.method in BASELINES:
        return problems
    shares = found.spectrum["eigenvalue"].to_numpy()
    if shares[0] < 0.02:
        problems.append(
            (
                OverlapWarning,
                f"in the direction of {found.spectrum['largest_loadings'].iloc[0]} the confounders leave a share of "
                f"{shares[0]:.3g} of the features' variance: what that direction is worth is nearly a guess. Drop "
                "features that the confounders determine, or set a penalty.",
            )
        )
    if len(found.nuisance_fit):
        pvalue = float(found.nuisance_fit["pvalue"].iloc[0])
        if pvalue < 1e-3:
            statistic = float(found.nuisance_fit["statistic"].iloc[0])
            problems.append(
                (
                    NuisanceFitWarning,
                    f"the residuals still go with the numeric confounders (score statistic {statistic:.3g}, "
                    f"p = {pvalue:.2g}): use a more flexible outcome_model and treatment_model.",
                )
            )
    if len(found.additivity) and estimator.method != "standardization":
        pvalue = float(found.additivity["pvalue"].iloc[0])
        if pvalue < 0.01:
            problems.append(
                (
                    AdditivityWarning,
                    f"what a text is worth differs over the confounders (statistic "
                    f"{float(found.additivity['statistic'].iloc[0]):.3g}, p = {pvalue:.2g}): "
                    'method="standardization" averages over them.',
                )
            )
    if found.integer_coded:
        listed = ", ".join(map(repr, found.integer_coded))
        problems.append(
            (
                UserWarning,
                f"confounders {listed} hold integers that look like codes and are taken as numbers: name them in "
                "`categorical` if they are levels, or pass them as floats.",
            )
        )
    for name, row in found.predictability.iterrows():
        if row["measure"] == "r2" and not row["declared"] and row["value"] > 0.05:
            problems.append(
                (
                    BadControlWarning,
                    f"the text predicts confounder {name!r} (out-of-fold R² {row['value']:.2f}): was it fixed before "
                    f'the text was written? If so declare timing={{{name!r}: "before"}}; if it came after, drop it.',
                )
            )
    return problems


def warn_of(estimator: Any, found: RewardDiagnostics, stacklevel: int) -> None:
    """Issue the warnings of a fit."""
    for category, text in problems_of(estimator, found):
        warnings.warn(text, category, stacklevel=stacklevel + 1)
