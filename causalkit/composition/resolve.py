"""Which test a fit gets, with its degrees of freedom, and the tests that resample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import CentredLogs, centre_logs, refuse_constant_columns, weighted_crossproduct
from causalkit.composition.fitting import FittedPrecision, fit_covariance, reference_columns
from causalkit.composition.network import FittedNetwork
from causalkit.composition.null_distribution import (
    bootstrap_correlations,
    closure_kappa,
    null_generator,
    permutation_pvalues,
)
from causalkit.composition.precision import Precision, shrunk_precision
from causalkit.composition.shrinkage import shrink_logs
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError

__all__ = ["TestPlan", "choose_test", "resample_tests"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TestPlan:
    """A test, its null hypothesis and degrees of freedom."""

    __test__ = False

    test: str
    null: str
    dof: float


def choose_test(
    options: Any,
    method: str,
    fitted: FittedPrecision,
    n: float,
    d: int,
    q: int,
    groups: Any,
    data: CentredLogs | None,
) -> TestPlan:
    """Resolve ``test`` and ``null``, refusing combinations that have no valid reference distribution."""
    test = _auto_test(options, method, groups, data) if options.test == "auto" else (options.test or "none")
    _refuse_invalid(options, test, method, groups, data)
    null = options.null
    if null == "auto":
        null = "closure" if test in ("shrunk_t", "permutation") else "zero"
    if test in ("shrunk_t", "permutation") and null == "zero":
        raise InferenceUnavailableError(
            f"test={test!r} has the closure null only: shrinkage moves every r towards r⁰, not towards 0. Use "
            "null='closure', or shrinkage=None with null='zero'."
        )
    dof = n - d + 1 - q
    if test == "shrunk_t":
        shrunk = fitted.shrunk
        if shrunk is None or shrunk.intensity == 0:
            return TestPlan("t", "closure", _positive(dof, n, d, q))
        if shrunk.intensity >= 1:
            return TestPlan(test, null, np.inf)
        if data is None:
            raise InferenceUnavailableError(
                "the simulated null of shrunk_t needs the rows, which partial_fit drops: pass test=None, or fit."
            )
        kappa = closure_kappa(data, shrunk, method, null_generator(options.random_state, len(data.weight), d))
        return TestPlan(test, null, kappa - 1)
    if test == "t":
        dof = _positive(dof, n, d, q)
        return TestPlan(test, null, dof / (1 + 2 / (d - 1)) if options.robust == "tyler" else dof)
    if test == "fisher":
        if n - d - q <= 0:
            raise DegreesOfFreedomError(
                f"test='fisher' needs n - D - q > 0; got n = {n:g}, D = {d}, q = {q}. ν = 1 allows test='t' only."
            )
        return TestPlan(test, null, n - d - q)
    if test == "influence":
        if n <= d + q:
            raise DegreesOfFreedomError(f"test='influence' needs n > D + q rows; got n = {n:g}, D = {d}, q = {q}.")
        return TestPlan(test, null, n - d - q if groups is None else groups.n_groups - 1.0)
    return TestPlan(test, null, np.inf)


def _positive(dof: float, n: float, d: int, q: int) -> float:
    if dof < 1:
        raise DegreesOfFreedomError(
            f"test='t' needs ν = n - D + 1 - q ≥ 1; got n = {n:g}, D = {d}, q = {q}, ν = {dof:g}."
        )
    return dof


def _auto_test(options: Any, method: str, groups: Any, data: CentredLogs | None) -> str:
    if groups is not None:
        return "influence"
    if options.robust is not None:
        return "t" if options.robust == "tyler" else "none"
    if method == "none":
        return "t"
    return "shrunk_t" if method in ("basis", "invariant") and data is not None else "none"


def _refuse_invalid(options: Any, test: str, method: str, groups: Any, data: CentredLogs | None) -> None:
    shrunken = method != "none"
    if shrunken and test in ("t", "fisher", "influence"):
        raise InferenceUnavailableError(
            f"test={test!r} is for unshrunk fits; shrinkage is {method!r}. Use test='shrunk_t' (basis, invariant) or "
            f"test='bootstrap', or shrinkage=None{' with more rows than parts' if groups is not None else ''}."
        )
    if test in ("shrunk_t", "permutation") and method not in ("basis", "invariant"):
        raise InferenceUnavailableError(
            f"test={test!r} is for shrinkage 'basis', 'invariant' or a float; shrinkage is {method!r}. Use test='t' "
            "unshrunk, or test='bootstrap'."
        )
    if options.robust == "mcd" and test not in ("none", "bootstrap"):
        raise InferenceUnavailableError("robust='mcd' has no t reference: use test=None or test='bootstrap'.")
    if options.robust == "tyler" and test in ("fisher", "influence", "permutation", "shrunk_t"):
        raise InferenceUnavailableError("robust='tyler' allows test='t', 'bootstrap' or None.")
    if groups is not None and test not in ("influence", "bootstrap", "none"):
        raise InferenceUnavailableError(
            f"test={test!r} takes rows as independent; with groups use test='influence' (unshrunk) or test='bootstrap'."
        )
    if data is None and test in ("influence", "permutation", "bootstrap"):
        raise InferenceUnavailableError(f"test={test!r} needs the rows, which partial_fit does not keep: use fit.")


def resample_tests(options: Any, network: FittedNetwork) -> FittedNetwork:
    """Add the p-values of tests that resample the rows; λ and λ_var are held throughout."""
    data, shrunk = network.data, network.shrunk
    if network.test not in ("permutation", "bootstrap") or data is None:
        return network
    d, n = network.n_parts, len(data.weight)
    rng = null_generator(options.random_state, n, d)
    everything = slice(0, d)
    r = network.precision.correlations(everything, everything)
    if network.test == "permutation" and shrunk is not None:
        deviations = r - network.closure_block(everything, everything)
        pvalues = permutation_pvalues(
            data, shrunk, network.method, deviations, options.n_resamples, rng, options.verbose
        )
        return replace(network, stored_pvalues=pvalues)
    if shrunk is None and n < 2 * d:
        raise DegreesOfFreedomError(f"an unshrunk bootstrap needs n ≥ 2D rows; got n = {n}, D = {d}. Use shrinkage.")
    refit = _refit_of_rows(options, network, data)
    draws, redrawn = bootstrap_correlations(
        refit, n, network.groups, options.n_resamples, rng, options.n_jobs, options.verbose
    )
    upper = np.triu_indices(d, 1)
    null = network.null_factor[upper[0]] * network.null_factor[upper[1]] if network.null == "closure" else 0.0
    tails = np.minimum((draws <= null).sum(axis=0), (draws >= null).sum(axis=0)) + 1
    values = np.minimum(1.0, 2 * tails / (len(draws) + 1))
    pvalues = np.ones((d, d))
    pvalues[upper] = values
    pvalues.T[upper] = values
    return replace(network, stored_pvalues=pvalues, draws=draws, redrawn=redrawn)


def _refit_of_rows(options: Any, network: FittedNetwork, data: CentredLogs) -> Callable[[NDArray[np.intp]], Precision]:
    """The fit as a function of row positions, λ and λ_var held.

    The rows are residuals of the confounders, and the confounders are regressed out again in every
    resample: residuals of residuals are those of the data, so the raw logs are not needed.
    """
    logs, names, shrunk = data.logs + data.mean, network.names, network.shrunk
    controls = None
    if data.projector is not None:
        controls = data.projector / np.sqrt(data.weight)[:, None]

    def refit(rows: NDArray[np.intp]) -> Precision:
        if options.robust is not None:
            from causalkit.composition.robust import robust_log_ratio_covariance

            return fit_covariance(robust_log_ratio_covariance(np.exp(logs[rows]), options.robust), names).precision
        sub = centre_logs(logs[rows], data.weight[rows], None if controls is None else controls[rows], close=False)
        if shrunk is None:
            return fit_covariance(weighted_crossproduct(sub, sub.clr), names).precision
        columns = reference_columns(sub, network.method, options.reference, names)
        if network.method in ("basis", "logratio"):
            refuse_constant_columns(sub.weight @ (columns * columns), sub.mean, names, network.method)
        again = shrink_logs(
            sub,
            network.method,
            intensity=shrunk.intensity,
            variance=shrunk.variance_intensity,
            columns=columns if network.method == "logratio" else None,
        )
        return shrunk_precision(again)

    return refit
