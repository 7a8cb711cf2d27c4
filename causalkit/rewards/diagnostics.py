"""What an adjustment rests on: overlap, the fit of the nuisances, additivity, and confounders that follow the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.additivity import additivity_test, lagrange_multiplier_test, predictability
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.diagnostic_warnings import problems_of
from causalkit.rewards.nuisances import ConfounderBasis
from causalkit.rewards.records import LoggedRows, RewardParts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RewardDiagnostics", "diagnose"]

Array = NDArray[np.float64]

_RICH_KNOTS = 16
_LEADING = 5
_MOST_COLUMNS = 10
_MOST_LEVELS = 50


@dataclass(frozen=True, eq=False)
class RewardDiagnostics:
    """Frames that say whether a reward can be trusted; nothing is printed.

    Attributes
    ----------
    overlap : DataFrame
        Per feature: share of its variance that the confounders explain (``r2``).
    spectrum : DataFrame
        Eigenvalues of Σ_U Σ_X⁻¹ in rising order, shares of variance left, with the three largest loadings of each
        direction; 0 is not identified.
    nuisance_fit : DataFrame
        Robust score tests that the residuals do not go with a richer basis of the confounders.
    additivity : DataFrame
        Test that the reward of a text is the same over the confounders, and the held-out gain of letting it vary.
    predictability : DataFrame
        Per confounder: out-of-fold R² (numeric) or mean one-against-rest AUC (levels) of the confounder given the
        features, and whether its timing was declared.
    levels : DataFrame
        Per factor: levels, singletons, levels without variation of the features, share of pairs in the same level.
    prompts : DataFrame or None
        Share of prompts in which each confounder varies: constant ones cancel in comparisons within a prompt.
    effective_sample_size : float or None
        Of the weights, for ``method="weighting"``.
    integer_coded : tuple of str
        Numeric confounders of few integer values: name them in ``categorical`` if they are codes.
    problems : tuple of str
        What was warned of, in words.
    """

    overlap: pd.DataFrame
    spectrum: pd.DataFrame
    nuisance_fit: pd.DataFrame
    additivity: pd.DataFrame
    predictability: pd.DataFrame
    levels: pd.DataFrame
    prompts: pd.DataFrame | None
    effective_sample_size: float | None
    integer_coded: tuple[str, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing was found to warn of."""
        return not self.problems

    def __repr__(self) -> str:
        found = "\n".join(f"- {problem}" for problem in self.problems) or "- nothing found"
        return f"RewardDiagnostics\n{found}"

    def _repr_html_(self) -> str:
        found = "".join(f"<li>{problem}</li>" for problem in self.problems) or "<li>nothing found</li>"
        parts = [f"<p>RewardDiagnostics</p><ul>{found}</ul>"]
        for name in ("spectrum", "overlap", "nuisance_fit", "additivity", "predictability", "levels", "prompts"):
            frame = getattr(self, name)
            if frame is not None and len(frame):
                table = frame.to_html(float_format=lambda v: f"{v:.4g}", border=0, max_rows=12)
                parts.append(f"<details><summary>{name}</summary>{table}</details>")
        return f"<div>{''.join(parts)}</div>"


# ---------------------------------------------------------------------- tests


def _nuisance_fit(rows: LoggedRows, parts: RewardParts) -> pd.DataFrame:
    """Score tests of ê and of the five leading X̃_j; none where only levels were absorbed exactly."""
    import pandas as pd

    columns = ["statistic", "df", "pvalue"]
    confounders = rows.confounders
    if confounders is None or not confounders.roles.numeric or not parts.fits:
        return pd.DataFrame(columns=columns)
    small = tuple(f.n_levels for f in confounders.factors)
    if sum(small) > 10 * _MOST_LEVELS:
        small, confounders = (), Confounders(confounders.roles, confounders.numeric, [])
    basis = ConfounderBasis(confounders.roles, small, _RICH_KNOTS, drop_first=True)
    B = basis.fit(confounders.matrix()).transform(confounders.matrix())
    fit = parts.fits[0]
    found = {"residual": lagrange_multiplier_test(fit.residuals, B, rows.weight)}
    leading = np.argsort(np.diag(parts.second_moment))[::-1][:_LEADING]
    for j in leading:
        found[rows.names[j]] = lagrange_multiplier_test(fit.features[:, j].astype(np.float64), B, rows.weight)
    return pd.DataFrame.from_dict(found, orient="index", columns=columns)


def _additivity(rows: LoggedRows, parts: RewardParts, residualise: Any) -> pd.DataFrame:
    import pandas as pd

    columns = ["statistic", "df", "pvalue", "held_out_gain"]
    confounders = rows.confounders
    if confounders is None or not parts.fits:
        return pd.DataFrame(columns=columns)
    table = _confounder_columns(confounders)
    if table.shape[1] == 0:
        return pd.DataFrame(columns=columns)
    codes = None if rows.groups is None else rows.groups.codes
    return pd.DataFrame([additivity_test(parts.fits[0], table, codes, residualise)], columns=columns)


def _confounder_columns(confounders: Confounders) -> Array:
    """At most ten standardised columns: the numeric ones, then the largest levels of each factor."""
    blocks = [confounders.numeric[:, :_MOST_COLUMNS]]
    for factor in confounders.factors:
        if factor.n_levels > _MOST_LEVELS:  # ten of so many levels say nothing about the rest
            continue
        largest = np.argsort(np.bincount(factor.codes, minlength=factor.n_levels))[::-1][: factor.n_levels - 1]
        blocks.append((factor.codes[:, None] == largest[:_MOST_COLUMNS]).astype(np.float64))
    table = np.hstack(blocks)[:, :_MOST_COLUMNS]
    table = table - table.mean(axis=0)
    size = table.std(axis=0)
    return np.asarray(table[:, size > 0] / size[size > 0])


def _predictability(estimator: Any, rows: LoggedRows) -> pd.DataFrame:
    """How well the features tell each confounder."""
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    confounders = rows.confounders
    records: list[dict[str, Any]] = []
    if confounders is not None:
        if confounders.numeric.shape[1]:
            fitted = predictability(rows, confounders.numeric)
            for j, name in enumerate(confounders.roles.numeric):
                c = confounders.numeric[:, j]
                total = float(((c - c.mean()) ** 2).sum())
                r2 = 1.0 - float(((c - fitted[:, j]) ** 2).sum()) / total if total > 0 else 0.0
                records.append(
                    {"confounder": name, "measure": "r2", "value": r2, "declared": _declared(estimator, name)}
                )
        for factor in confounders.factors:
            value = np.nan
            if 2 <= factor.n_levels <= _MOST_LEVELS:
                indicators = (factor.codes[:, None] == np.arange(factor.n_levels)).astype(np.float64)
                fitted = predictability(rows, indicators)
                areas = [roc_auc_score(indicators[:, g], fitted[:, g]) for g in range(factor.n_levels)]
                value = float(np.average(areas, weights=indicators.sum(axis=0)))
            declared = all(_declared(estimator, name) for name in factor.name.split(":"))
            records.append({"confounder": factor.name, "measure": "auc", "value": value, "declared": declared})
    return pd.DataFrame(records, columns=["confounder", "measure", "value", "declared"]).set_index("confounder")


def _declared(estimator: Any, name: str) -> bool:
    timing = estimator.timing
    return timing == "before" or (isinstance(timing, dict) and name in timing)


def _levels(rows: LoggedRows, parts: RewardParts) -> pd.DataFrame:
    import pandas as pd

    records = []
    for factor in [] if rows.confounders is None else rows.confounders.factors:
        counts = np.bincount(factor.codes, minlength=factor.n_levels).astype(float)
        varies = np.zeros(factor.n_levels, dtype=bool)
        for j in range(min(rows.X.shape[1], _LEADING)):
            column = rows.X[:, j].astype(np.float64)
            low, high = np.full(factor.n_levels, np.inf), np.full(factor.n_levels, -np.inf)
            np.minimum.at(low, factor.codes, column)
            np.maximum.at(high, factor.codes, column)
            varies |= high > low
        n = len(factor.codes)
        same = float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else 0.0
        records.append((factor.name, factor.n_levels, int((counts == 1).sum()), int((~varies).sum()), same))
    names = ["factor", "levels", "singletons", "without_variation", "same_level_pairs"]
    return pd.DataFrame(records, columns=names).set_index("factor")


def prompt_variation(frame: Any, prompts: Any) -> pd.DataFrame:
    """Share of prompts in which each confounder takes more than one value."""
    import pandas as pd

    labels = pd.Series(np.asarray(prompts.to_numpy() if hasattr(prompts, "to_numpy") else prompts), name="prompt")
    shares = {
        column: float((frame[column].reset_index(drop=True).groupby(labels).nunique(dropna=False) > 1).mean())
        for column in frame.columns
    }
    return pd.DataFrame({"share_of_prompts": shares})


def diagnose(
    estimator: Any,
    rows: LoggedRows,
    parts: RewardParts,
    overlap: tuple[Array, Array],
    frame: Any,
    prompts: Any,
) -> RewardDiagnostics:
    """All diagnostics of a fit; ``overlap`` holds the eigenvalues and directions of the spectrum."""
    import pandas as pd

    total = np.diag(rows.feature_moment)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(total > 0, 1.0 - np.diag(parts.second_moment) / total, 1.0)
    shares, directions = overlap
    residualise = None if parts.within is None else parts.within.absorption.residualise
    loadings = directions * np.sqrt(total)[:, None]
    top = [", ".join(rows.names[j] for j in np.argsort(np.abs(column))[::-1][:3]) for column in loadings.T]
    weights = parts.extras.get("weights_")
    size = None if weights is None else float(weights.sum() ** 2 / (weights**2).sum())
    found = RewardDiagnostics(
        overlap=pd.DataFrame({"r2": explained}, index=rows.names),
        spectrum=pd.DataFrame({"eigenvalue": shares, "largest_loadings": top}),
        nuisance_fit=_nuisance_fit(rows, parts),
        additivity=_additivity(rows, parts, residualise),
        predictability=_predictability(estimator, rows),
        levels=_levels(rows, parts),
        prompts=None if prompts is None or frame is None else prompt_variation(frame, prompts),
        effective_sample_size=size,
        integer_coded=() if rows.confounders is None else rows.confounders.roles.integer_coded,
    )
    return RewardDiagnostics(**{**vars(found), "problems": tuple(text for _, text in problems_of(estimator, found))})
