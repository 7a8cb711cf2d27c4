"""What an adjustment rests on: overlap, the fit of the nuisances, additivity, and confounders that follow the text."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalkit.exceptions import AdditivityWarning, BadControlWarning, NuisanceFitWarning, OverlapWarning
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.nuisances import ConfounderBasis
from causalkit.rewards.orthogonal import OrthogonalFit, gram, row_chunks, times, transposed_times
from causalkit.rewards.records import BASELINES, LoggedRows, RewardParts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RewardDiagnostics", "additivity_test", "diagnose", "lagrange_multiplier_test", "predictability", "warn_of"]

Array = NDArray[np.float64]

_RICH_KNOTS = 16
_LEADING = 5
_MOST_COLUMNS = 10
_MOST_LEVELS = 50
_FOLDS = 5


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


def lagrange_multiplier_test(residual: Array, basis: Array, weight: Array | None = None) -> tuple[float, int, float]:
    """Robust score test that a residual does not go with a basis: s'Ω⁻¹s, degrees of freedom, p-value.

    s = ΣwBê and Ω = Σw²BB'ê², which is n R² where the variance does not change over the basis. Out-of-fold residuals
    are largest in the tails, where few rows inform a spline: n R² itself takes one such row for a misfit.

    Parameters
    ----------
    residual : ndarray, shape (n,)
        Residual, centred here.
    basis : ndarray, shape (n, q)
        Columns, without the constant.
    weight : ndarray, shape (n,), optional
        Weights of mean 1.
    """
    w = np.ones(len(residual)) if weight is None else weight
    e = w * (residual - np.average(residual, weights=w))
    B = basis - np.average(basis, axis=0, weights=w)
    values, V = np.linalg.eigh(gram(B, e**2))
    kept = values > 1e-10 * max(float(values.max(initial=0.0)), 1e-300)
    statistic = float(((B.T @ e) @ V[:, kept]) ** 2 @ (1 / values[kept])) if kept.any() else 0.0
    freedom = int(kept.sum())
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom)) if freedom else 1.0


def additivity_test(
    fit: OrthogonalFit, columns: Array, codes: NDArray[np.intp] | None, residualise: Any = None
) -> tuple[float, int, float, float]:
    """Robust test that no product of features and confounders belongs into the reward, and its held-out R² gain.

    The products V of the leading components of X̃ with the confounder columns are made orthogonal to X̃; the score
    ΣVê is compared with its robust covariance, ΣVV'ê² or its sums within clusters.

    Parameters
    ----------
    fit : OrthogonalFit
        The additive fit.
    columns : ndarray, shape (n, q)
        Centred confounder columns.
    codes : ndarray of int, shape (n,), or None
        Clusters.
    residualise : callable, optional
        Projection off absorbed factors.

    Returns
    -------
    statistic, degrees of freedom, p-value, held-out gain
    """
    w = np.ones(fit.n) if fit.weight is None else fit.weight
    components = np.linalg.eigh(fit.second_moment)[1][:, ::-1][:, :_LEADING]
    lead = times(fit.features, components)
    V = np.empty((fit.n, lead.shape[1] * columns.shape[1]))
    # One component at a time: the projection reads its columns in small groups, far apart in a wide table.
    for block, component in zip(np.split(V, lead.shape[1], axis=1), lead.T, strict=True):
        product = component[:, None] * columns
        block[:] = product if residualise is None else residualise(product)
    shared = transposed_times(fit.features, V if fit.weight is None else V * w[:, None])
    slopes = np.linalg.pinv(fit.second_moment, hermitian=True) @ shared / fit.n
    for part in row_chunks(fit.n, fit.features.shape[1]):
        V[part] -= fit.features[part].astype(np.float64, copy=False) @ slopes
    size = np.sqrt(np.einsum("ij,ij->j", V, V) / fit.n)
    large = size > 1e-8 * max(float(size.max(initial=0.0)), 1e-300)
    V = V if large.all() else V[:, large]
    if V.shape[1] == 0 or not fit.residuals.any():
        return 0.0, 0, 1.0, 0.0
    scores = w * fit.residuals
    if codes is None:
        total, omega = scores @ V, gram(V, scores**2)
    else:
        each = [np.bincount(codes, weights=column * scores) for column in V.T]
        sums = np.stack(each, axis=1).astype(np.float64, copy=False)
        total, omega = sums.sum(axis=0), sums.T @ sums
    values, U = np.linalg.eigh(omega)
    kept = values > 1e-10 * values.max()
    statistic = float(((total @ U[:, kept]) ** 2 / values[kept]).sum())
    freedom = int(kept.sum())
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom)), _held_out_gain(V, fit.residuals, fit.weight)


def _held_out_gain(V: Array, residual: Array, weight: Array | None) -> float:
    """1 - SSE/SST of the residual on V over interleaved folds, from the products of each fold."""
    folds = [slice(k, None, _FOLDS) for k in range(_FOLDS)]
    scores = residual if weight is None else residual * weight
    grams = [gram(V[fold], None if weight is None else weight[fold]) for fold in folds]
    moments = [transposed_times(V[fold], scores[fold]) for fold in folds]
    G, M = np.sum(grams, axis=0), np.sum(moments, axis=0)
    error = total = float(scores @ residual)
    for own, moment in zip(grams, moments, strict=True):
        beta = np.linalg.pinv(G - own, hermitian=True) @ (M - moment)
        error += float(beta @ own @ beta - 2 * beta @ moment)
    return 1.0 - error / total


def predictability(rows: LoggedRows, targets: Array) -> Array:
    """Out-of-fold linear predictions of some columns from the features, shape (n, t); ridge 1e-6 of the trace."""
    X, n, p = rows.X, rows.n, rows.X.shape[1]
    fold = np.random.default_rng(0).permutation(n) % _FOLDS
    centre = rows.feature_mean
    grams, moments = [], []
    for k in range(_FOLDS):
        inside = np.flatnonzero(fold == k)
        block = X[inside]
        grams.append(gram(block, centre=centre))
        sums = targets[inside]
        moments.append(transposed_times(block, sums) - np.outer(centre, sums.sum(axis=0)))
    G, M = np.sum(grams, axis=0), np.sum(moments, axis=0)
    out = np.empty_like(targets)
    small = 1e-6 * float(np.trace(G)) / p or 1.0  # features that are all constant predict nothing
    for k in range(_FOLDS):
        inside = np.flatnonzero(fold == k)
        others = targets[fold != k].mean(axis=0)
        shift = (G - grams[k]) + small * np.eye(p)
        # Centring at the overall means leaves an offset of the order of the fold's share: the mean of the others.
        beta = np.linalg.solve(shift, M - moments[k])
        out[inside] = others + times(X[inside], beta) - centre @ beta
    return out


# ---------------------------------------------------------------------- assembling


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
    return RewardDiagnostics(**{**vars(found), "problems": tuple(text for _, text in _problems(estimator, found))})


def _problems(estimator: Any, found: RewardDiagnostics) -> list[tuple[type[Warning], str]]:
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
    for category, text in _problems(estimator, found):
        warnings.warn(text, category, stacklevel=stacklevel + 1)
