"""Reference distributions of shrunken partial correlations: simulated closure null, permutation, bootstrap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from causalkit.composition.covariance import CentredLogs, basis_variances, centre_logs
from causalkit.composition.precision import Precision, shrunk_precision
from causalkit.composition.shrinkage import Shrunk, closure_factor, shrink_logs
from causalkit.exceptions import DegenerateLogRatioError, DegreesOfFreedomError
from causalkit.threads import SingleThreadedBlas

__all__ = ["bootstrap_correlations", "closure_kappa", "null_generator", "permutation_pvalues"]

Array = NDArray[np.float64]

_PAIRS = 200_000
_SUBSET = 640  # 640·639/2 pairs exceed 2·10⁵
_STACKED = 64  # few parts need thousands of data sets, which are worked on together


def null_generator(random_state: Any, n: int, d: int) -> np.random.Generator:
    """Generator of the simulated null; without a seed it is keyed by (n, D), so that p-values repeat."""
    if random_state is None:
        return np.random.default_rng([n, d, 271_828])
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1))
    return np.random.default_rng(random_state)


def closure_kappa(data: CentredLogs, shrunk: Shrunk, method: str, rng: np.random.Generator) -> float:
    """κ of the shrunken null density (1-x²)^((κ-3)/2), by maximum likelihood over simulated data.

    Independent log-normal parts with the fitted log means and variances, the same n, weights and
    confounders, λ and λ_var held (variances and r⁰ estimated anew), at least 2·10⁵ pairs. The likelihood
    equation is ψ((κ-1)/2) - ψ(κ/2) = mean log(1-x²). Source: Bernal et al. 2019, eq. 5, with x centred at
    the closure null.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma

    total, count = 0.0, 0
    with SingleThreadedBlas():
        for x in _null_deviations(data, shrunk, method, rng):
            total += float(np.sum(np.log1p(-np.minimum(x * x, 1 - 1e-12))))
            count += x.size
    mean = total / count

    def equation(log_kappa: float) -> float:
        kappa = 1 + np.exp(log_kappa)
        return float(digamma((kappa - 1) / 2) - digamma(kappa / 2) - mean)

    low, high = np.log(1e-6), np.log(1e12)
    if equation(high) < 0:
        return 1 + 1e12
    return 1 + float(np.exp(brentq(equation, low, high, xtol=1e-12)))


def _null_deviations(data: CentredLogs, shrunk: Shrunk, method: str, rng: np.random.Generator) -> Iterator[Array]:
    """(r - r⁰)/(1-λ) of the pairs of simulated data sets, until there are 2·10⁵."""
    n, d = data.logs.shape
    if d <= _STACKED and shrunk.intensity >= 1e-6:
        yield from _stacked_deviations(data, shrunk, method, rng)
        return
    spread = np.sqrt(shrunk.sampling_variances)
    subset = np.arange(d) if d <= _SUBSET else np.sort(rng.choice(d, _SUBSET, replace=False))
    upper = np.triu_indices(len(subset), 1)
    count = 0
    while count < _PAIRS:
        logs = rng.standard_normal((n, d))
        logs *= spread
        logs += data.mean
        fake = centre_logs(logs, data.weight, projector=data.projector)
        again = shrink_logs(fake, method, intensity=shrunk.intensity, variance=shrunk.variance_intensity)
        r = shrunk_precision(again).correlations(subset, subset)[upper]
        factor = closure_factor(again.variances)[subset]
        count += len(r)
        yield (r - factor[upper[0]] * factor[upper[1]]) / (1 - shrunk.intensity)


def _stacked_deviations(data: CentredLogs, shrunk: Shrunk, method: str, rng: np.random.Generator) -> Iterator[Array]:
    """The same numbers from the same stream, many data sets at a time.

    Checked by test_stacked_simulations_are_the_single_ones.
    """
    from scipy.special import logsumexp

    n, d = data.logs.shape
    upper = np.triu_indices(d, 1)
    left = -(-_PAIRS // len(upper[0]))
    root = np.sqrt(data.unbiasing * data.weight)[:, None]
    while left > 0:
        size = min(left, max(1, 2**20 // (n * d)))
        left -= size
        x = rng.standard_normal((size, n, d)) * np.sqrt(shrunk.sampling_variances) + data.mean
        x -= logsumexp(x, axis=2, keepdims=True)
        if method != "basis":
            x -= x.mean(axis=2, keepdims=True)
        x -= (data.weight @ x)[:, None, :]
        x *= root
        if data.projector is not None:
            x -= data.projector @ (data.projector.T @ x)
        covariance = np.matmul(x.transpose(0, 2, 1), x)
        own = np.einsum("kii->ki", covariance)
        if method == "basis":
            median = np.median(own, axis=1, keepdims=True)
            target = shrunk.variance_intensity * median + (1 - shrunk.variance_intensity) * own
            scale = np.sqrt(target / own)
            covariance = covariance * scale[:, :, None] * scale[:, None, :]
        else:
            target = np.array([basis_variances(row) for row in own])
        covariance *= 1 - shrunk.intensity
        covariance[:, range(d), range(d)] += shrunk.intensity * target
        yield _stacked_correlations(covariance, target, upper) / (1 - shrunk.intensity)


def _stacked_correlations(basis: Array, target: Array, upper: tuple[Any, ...]) -> Array:
    """r - r⁰ of the pairs for covariances M of a basis, shape (K, D, D), with variances of the closure null."""
    omega = np.linalg.inv(basis)
    u = omega.sum(axis=2)
    omega -= u[:, :, None] * u[:, None, :] / u.sum(axis=1)[:, None, None]
    root = np.sqrt(np.einsum("kii->ki", omega))
    factor = np.sqrt(1 / target / ((1 / target).sum(axis=1, keepdims=True) - 1 / target))
    i, j = upper
    return np.asarray(-omega[:, i, j] / (root[:, i] * root[:, j]) - factor[:, i] * factor[:, j])


def permutation_pvalues(
    data: CentredLogs,
    shrunk: Shrunk,
    method: str,
    deviations: Array,
    n_resamples: int,
    rng: np.random.Generator,
    verbose: int = 0,
) -> Array:
    """p = (1 + #{|x*| ≥ |x|})/(1 + N) with a null pooled over pairs and resamples.

    Each column of the log data is permuted by itself; λ and λ_var are held. Estimating λ anew would make
    it 1 on permuted data, and every observed pair would look extreme. With λ = 1 every r is r⁰ and every p is 1.

    Parameters
    ----------
    deviations : ndarray, shape (D, D)
        Observed r - r⁰.
    """
    d = data.logs.shape[1]
    if shrunk.intensity >= 1:
        return np.ones((d, d))
    logs = data.logs + data.mean
    upper = np.triu_indices(d, 1)
    observed = np.abs(deviations[upper])
    order = np.argsort(observed)
    thresholds = observed[order]
    exceed = np.zeros(len(thresholds))
    for done in range(1, n_resamples + 1):
        fake = centre_logs(rng.permuted(logs, axis=0), data.weight, projector=data.projector)
        again = shrink_logs(fake, method, intensity=shrunk.intensity, variance=shrunk.variance_intensity)
        factor = closure_factor(again.variances)
        x = np.sort(np.abs(shrunk_precision(again).correlations()[upper] - factor[upper[0]] * factor[upper[1]]))
        exceed += len(x) - np.searchsorted(x, thresholds, side="left")
        if verbose:
            _show_progress("permutations", done, n_resamples)
    values = np.empty_like(exceed)
    values[order] = (1 + exceed) / (1 + n_resamples * len(observed))
    out = np.ones((d, d))
    out[upper] = values
    out.T[upper] = values
    return out


def bootstrap_correlations(
    fit: Callable[[NDArray[np.intp]], Precision],
    n: int,
    groups: Any,
    n_resamples: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> tuple[Array, int]:
    """Partial correlations of resampled rows (or whole groups), shape (B, pairs), and how many were redrawn.

    ``fit`` maps row positions to a precision and raises an error of rank where they do not allow one; such a
    resample is drawn again. Rows are drawn in one order whatever the number of jobs, so results are the same.

    Raises
    ------
    DegreesOfFreedomError
        If ten times as many resamples as asked for did not suffice.
    """
    members = None
    if groups is not None:
        members = [np.flatnonzero(groups.codes == g) for g in range(groups.n_groups)]

    def resample() -> NDArray[np.intp]:
        if members is None:
            return rng.integers(0, n, n)
        return np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])

    draws: list[Array] = []
    redrawn = 0
    while len(draws) < n_resamples:
        batch = [resample() for _ in range(min(64, n_resamples - len(draws)))]
        size = -(-len(batch) // 8)
        tasks = [delayed(_fit_resamples)(fit, batch[k : k + size]) for k in range(0, len(batch), size)]
        found = [r for part in Parallel(n_jobs=n_jobs)(tasks) for r in part]
        draws += [r for r in found if r is not None]
        redrawn += sum(r is None for r in found)
        if redrawn > 10 * n_resamples:
            raise DegreesOfFreedomError(
                "the bootstrap cannot find resamples of full rank: too few distinct rows for the number of parts. "
                "Use shrinkage or fewer parts."
            )
        if verbose:
            _show_progress("bootstrap", len(draws), n_resamples)
    return np.array(draws), redrawn


def _fit_resamples(fit: Callable[[NDArray[np.intp]], Precision], batch: list[NDArray[np.intp]]) -> list[Array | None]:
    """Pairs above the diagonal for each resample; None where it is singular."""
    out: list[Array | None] = []
    with SingleThreadedBlas():
        for rows in batch:
            try:
                r = fit(rows).correlations(slice(None), slice(None))
            except (np.linalg.LinAlgError, DegenerateLogRatioError, DegreesOfFreedomError):
                out.append(None)
            else:
                out.append(r[np.triu_indices(len(r), 1)])
    return out


def _show_progress(what: str, done: int, total: int) -> None:
    filled = 30 * done // total
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{what} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}{end}")
    sys.stderr.flush()
