"""Sections A and B: the glass cups without shrinkage, estimates and tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, at_most, near, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.composition.common import (
    CUPS_ABSENT,
    correlations,
    cups,
    listed,
    pair,
    precision_by_reference,
    unshrunk,
)
from causalkit.composition import (
    compositional_ci_test,
    log_ratio_covariance,
    proportionality,
    symmetric_balance_correlation,
)
from causalkit.composition.contrasts import helmert_contrasts

__all__ = ["estimate_rows", "test_rows"]

Array = NDArray[np.float64]

# Variance and R² of each part given the others, in the order of the columns.
_PARTS = (
    (".00203265", ".9074"),
    (".000875304", ".8764"),
    (".00346872", ".7949"),
    (".00812528", ".5572"),
    (".00278456", ".4954"),
    (".00177691", ".8285"),
    (".00841246", ".2935"),
    (".00831486", ".4092"),
    (".0102517", ".3306"),
    (".0506186", ".3923"),
    (".0515998", ".3622"),
)
_PAIRS = {
    "Si-Al": ".721524",
    "Fe-Al": ".726681",
    "Si-Fe": "-.663102",
    "Ca-Na": ".597281",
    "Fe-Mg": ".428432",
    "K-P": ".412748",
    "P-Sb": ".365974",
    "Ti-P": ".356379",
    "Fe-Sb": ".343100",
}
_RELATIVES = {
    "Si-Al": (".645", ".798"),
    "Fe-Al": ("-.014", ".094"),
    "Si-Fe": ("-.552", "-.483"),
    "Ca-Na": (".574", ".665"),
    "Fe-Mg": (".521", ".591"),
    "K-P": (".295", ".386"),
}
_PVALUES = {"Fe-Al": "1.6252e-7", "Si-Al": "2.1871e-7", "Si-Fe": "4.2249e-6", "Ca-Na": "5.9646e-5"}
_MORE_PVALUES = {"Fe-Mg": ".006506", "K-P": ".009019"}
_INTERVALS = {
    "Si-Al": (".525680", ".844735"),
    "Ca-Na": (".347193", ".768056"),
    "K-P": (".111789", ".644351"),
}


def estimate_rows(tier: Tier) -> Iterator[Row]:
    """A1 variances and R², A2 partial correlations by three routes, A3 the rest."""
    X = cups()
    if X is None:
        yield skipped("A1", "glass cups, unshrunk: variances, R², partial correlations, relatives", CUPS_ABSENT)
        return
    fit = unshrunk(X)
    for number, part in enumerate(X.columns):
        label = f"A1.{number + 1}"
        yield listed(f"{label}a", f"{part}: partial variance", fit.partial_variance_[number], _PARTS[number][0])
        yield listed(f"{label}b", f"{part}: R² on the other parts", fit.r2_[number], _PARTS[number][1])
    r = fit.partial_correlation_
    for number, (names, text) in enumerate(_PAIRS.items()):
        yield listed(f"A2.{number + 1}", f"partial correlation {names}", r[pair(X, names)], text)
    yield from _routes(X, r)
    yield from _summaries(X, fit)
    yield from _relatives(X)


def _routes(X: Any, r: Array) -> Iterator[Row]:
    gamma = log_ratio_covariance(X)
    d = len(gamma)
    references = [correlations(precision_by_reference(gamma, k)) for k in range(d)]
    distance = max(float(np.abs(other - r).max()) for other in references)
    yield at_most("A3.1", "distance of r from the inverse of the ALR covariance, any reference", distance, 1e-9)
    v = helmert_contrasts(d)
    orthonormal = correlations(v @ np.linalg.inv(v.T @ np.cov(np.log(X), rowvar=False) @ v) @ v.T)
    distance = float(np.abs(orthonormal - r).max())
    yield at_most("A3.2", "distance of r from the inverse of the ILR covariance", distance, 1e-9)
    distance = float(np.abs(correlations(np.linalg.pinv(gamma, hermitian=True)) - r).max())
    yield at_most("A3.3", "distance of r from the pseudo-inverse of Γ", distance, 1e-9)
    # Residuals of the regressions of log(x_i/x_k) on the other log-ratios, for every pair and one k outside it.
    distance = max(abs(_by_regression(X, i, j) - r[i, j]) for i in range(d) for j in range(i))
    yield at_most("A3.4", "distance of r from explicit regressions of log-ratios", distance, 1e-9)


def _by_regression(X: Any, i: int, j: int) -> float:
    """Correlation of two residuals: log(x_i/x_k), log(x_j/x_k) regressed on all other log-ratios to k."""
    logs = np.log(np.asarray(X))
    k = next(part for part in range(logs.shape[1]) if part not in (i, j))
    others = [part for part in range(logs.shape[1]) if part not in (i, j, k)]
    ratios = logs - logs[:, [k]]
    design = np.column_stack([np.ones(len(logs)), ratios[:, others]])
    targets = ratios[:, [i, j]]
    residuals = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
    return float(np.corrcoef(residuals.T)[0, 1])


def _summaries(X: Any, fit: Any) -> Iterator[Row]:
    columns = list(X.columns)
    for number, (part, low, high, ends) in enumerate(
        (("Si", ".656", ".984", ("Na", "Mn")), ("Al", ".825", ".991", (None, None)))
    ):
        values = {k: float(fit.r_squared(k)[part]) for k in columns if k != part}
        smallest, largest = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        label = f"A4.{number + 1}"
        for end, text, found, expected in (("a", low, smallest, ends[0]), ("b", high, largest, ends[1])):
            note = f"against {found}" + (f"; listed against {expected}" if expected else "")
            yield listed(
                f"{label}{end}",
                f"{part}: R² by reference, {'least' if end == 'a' else 'largest'}",
                values[found],
                text,
                note,
            )
    gamma = fit.log_ratio_covariance_
    eigenvalues = np.linalg.eigvalsh(gamma)
    yield listed("A5.1", "trace of Γ", np.trace(gamma), ".236098")
    yield listed("A5.2", "condition of Γ on its support", eigenvalues[-1] / eigenvalues[1], "158.03")
    yield listed("A5.3", "score on the training rows", fit.score(X), "9.66284")
    basis = fit.basis_variance_
    yield listed("A5.4", "basis variance of Si", basis[columns.index("Si")], ".019557")
    yield listed("A5.5", "basis variance of Ca", basis[columns.index("Ca")], ".002951")
    yield listed("A5.6", "mean basis variance", basis.mean(), ".0236098")


def _relatives(X: Any) -> Iterator[Row]:
    rho, balances = proportionality(X), symmetric_balance_correlation(X)
    for number, (names, (rho_text, balance_text)) in enumerate(_RELATIVES.items()):
        label = f"A6.{number + 1}"
        yield listed(f"{label}a", f"{names}: proportionality ρ_p", rho[pair(X, names)], rho_text)
        yield listed(f"{label}b", f"{names}: symmetric balance correlation", balances[pair(X, names)], balance_text)


# ---------------------------------------------------------------------- tests


def test_rows(tier: Tier) -> Iterator[Row]:
    """B1 t, B2 Fisher, B3 closure null, B4 tests in a subcomposition, B5 influence."""
    X = cups()
    if X is None:
        yield skipped("B1", "glass cups, unshrunk: tests, edges, intervals", CUPS_ABSENT)
        return
    fit = unshrunk(X, test="t")
    yield near("B1.1", "degrees of freedom", fit.dof_, 37, 0)
    yield from _counts(
        "B1",
        fit,
        (
            (2, "pairs with p ≤ .05", None, 0.05, 9),
            (3, "edges at q ≤ .05", 0.05, None, 4),
            (4, "edges at q ≤ .10", 0.10, None, 6),
        ),
    )
    for number, (names, text) in enumerate((_PVALUES | _MORE_PVALUES).items()):
        yield listed(f"B1.{number + 5}", f"{names}: p", fit.pvalues_[pair(X, names)], text)
    fisher = unshrunk(X, test="fisher")
    yield from _counts(
        "B2", fisher, ((1, "Fisher: pairs with p ≤ .05", None, 0.05, 9), (2, "Fisher: edges at q ≤ .05", 0.05, None, 4))
    )
    same = float(((fit.pvalues_ <= 0.05) != (fisher.pvalues_ <= 0.05)).sum() / 2)
    yield near("B2.3", "Fisher: pairs decided otherwise than by t at .05", same, 0, 0)
    lower, upper = fisher.conf_int()
    for number, (names, (low, high)) in enumerate(_INTERVALS.items()):
        yield listed(f"B2.{number + 4}a", f"{names}: lower end", lower[pair(X, names)], low)
        yield listed(f"B2.{number + 4}b", f"{names}: upper end", upper[pair(X, names)], high)
    yield from _closure(X)
    yield from _subcomposition(X, fit)


def _edges(fit: Any, level: float) -> set[frozenset[str]]:
    table = fit.to_frame(max_qvalue=level)
    return {frozenset(edge) for edge in zip(table["part_a"], table["part_b"], strict=True)}


def _counts(label: str, fit: Any, cases: tuple[tuple[int, str, float | None, float | None, int], ...]) -> Iterator[Row]:
    upper = np.triu_indices(fit.n_features_in_, 1)
    for number, what, q, p, count in cases:
        found = len(_edges(fit, q)) if q is not None else int((fit.pvalues_[upper] <= p).sum())
        yield near(f"{label}.{number}", what, found, count, 0)


def _closure(X: Any) -> Iterator[Row]:
    fit = unshrunk(X, test="t", null="closure")
    yield listed("B3.1", "closure null of Si-Al", fit.closure_null_[pair(X, "Si-Al")], ".1035")
    yield listed("B3.2", "closure null of Al-Ca", fit.closure_null_[pair(X, "Al-Ca")], ".3095")
    wanted = {frozenset(names.split("-")) for names in ("Si-Fe", "Si-Al", "Al-Fe", "Al-Ca")}
    found = _edges(fit, 0.05)
    note = ", ".join(sorted("-".join(sorted(edge)) for edge in found))
    yield near("B3.3", "closure null: edges at q ≤ .05 beside the four listed", len(found ^ wanted), 0, 0, note=note)


def _subcomposition(X: Any, fit: Any) -> Iterator[Row]:
    parts = ["Al", "Mg", "Ca", "Na", "K"]
    cases = (("Al-Na", ".689470", "1.6253e-7", ".305199"), ("Al-Mg", ".596477", "1.5318e-5", "-.013670"))
    for number, (names, r, p, full) in enumerate(cases):
        a, b = names.split("-")
        given = [part for part in parts if part not in (a, b)]
        found, label = compositional_ci_test(X, a, b, given), f"B4.{number + 1}"
        yield listed(f"{label}a", f"{names} given the rest of {', '.join(parts)}: r", found.r, r)
        yield listed(f"{label}b", f"{names}: p", found.pvalue, p)
        yield near(f"{label}c", f"{names}: degrees of freedom", found.dof, 43, 0)
        yield listed(f"{label}d", f"{names}: r among all 11 parts", fit.partial_correlation_[pair(X, names)], full)
        distance = abs(fit.ci_test(a, b, given).pvalue - found.pvalue)
        yield at_most(f"{label}e", f"{names}: distance of `ci_test` of the fit from the function", distance, 1e-12)
    # (47/36)^½ is the inflation of small samples that the estimator applies; the listed error is without it.
    n, d = X.shape
    result = fit.inference([("Si", "Al")])
    plain = float(result.std_error[0]) / np.sqrt(n / (n - d))
    yield listed("B5", "Si-Al: influence standard error, before the factor √(n/(n-D))", plain, ".0777016")
