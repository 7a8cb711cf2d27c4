"""Reference values of the Roman glass cups by explicit regressions; run to write ``cups.json``.

    python -m tests.golden.composition.make_cups

Nothing of the package's estimators is used: partial variances, R² and partial correlations come from least
squares on log-ratios, the precision matrix from the inverse of additive log-ratio covariances (every reference),
of orthonormal coordinates (two bases), and of the centred covariance plus a constant. Test results use scipy's
distributions on these. The table is read by ``fetch_roman_glass_cups`` and does not ship; numbers computed
from it may. Made with numpy 2.4 and scipy 1.17.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent


def residual(target: Array, regressors: Array) -> Array:
    """Residuals of least squares with an intercept."""
    design = np.column_stack([np.ones(len(target)), regressors])
    return np.asarray(target - design @ np.linalg.lstsq(design, target, rcond=None)[0])


def partial_correlation_by_regression(logs: Array, i: int, j: int, k: int) -> float:
    """Correlation of the residuals of log(x_i/x_k) and log(x_j/x_k) given all other log-ratios to k."""
    others = [m for m in range(logs.shape[1]) if m not in (i, j, k)]
    ratios = logs - logs[:, [k]]
    if not others:
        return float(np.corrcoef(ratios[:, i], ratios[:, j])[0, 1])
    first, second = (residual(ratios[:, m], ratios[:, others]) for m in (i, j))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def all_partial_correlations(logs: Array) -> Array:
    """Partial correlations of every pair, with the first part outside the pair as reference."""
    d = logs.shape[1]
    out = np.eye(d)
    for i in range(d):
        for j in range(i + 1, d):
            k = next(m for m in range(d) if m not in (i, j))
            out[i, j] = out[j, i] = partial_correlation_by_regression(logs, i, j, k)
    return out


def alr_route(logs: Array, k: int) -> Array:
    """F'Σ⁻¹F of the additive log-ratios to part k."""
    d = logs.shape[1]
    f = np.delete(np.eye(d), k, axis=0)
    f[:, k] = -1.0
    return np.asarray(f.T @ np.linalg.inv(np.cov((logs @ f.T).T)) @ f)


def helmert(d: int) -> Array:
    """Orthonormal contrasts: part k + 1 against the parts before it, shape (D, D - 1)."""
    v = np.zeros((d, d - 1))
    for k in range(1, d):
        v[:k, k - 1] = 1 / k
        v[k, k - 1] = -1
        v[:, k - 1] *= np.sqrt(k / (k + 1))
    return v


def ilr_route(logs: Array, v: Array) -> Array:
    """V(V'SV)⁻¹V' of orthonormal contrasts V."""
    return np.asarray(v @ np.linalg.inv(np.cov((logs @ v).T)) @ v.T)


def constant_route(logs: Array) -> Array:
    """(Γ + c11')⁻¹ - 11'/(cD²)."""
    clr = logs - logs.mean(axis=1, keepdims=True)
    gamma = np.cov(clr.T)
    d = len(gamma)
    c = np.trace(gamma) / d**2
    return np.asarray(np.linalg.inv(gamma + c) - 1 / (c * d * d))


def symmetric_balances(logs: Array, i: int, j: int) -> float:
    """Correlation of the two coordinates that symmetric orthogonalisation makes of the clr axes of i and j."""
    d = logs.shape[1]
    axes = (np.eye(d) - 1 / d)[:, [i, j]]
    axes /= np.linalg.norm(axes, axis=0)
    values, vectors = np.linalg.eigh(axes.T @ axes)
    z = logs @ axes @ (vectors / np.sqrt(values)) @ vectors.T
    return float(np.corrcoef(z.T)[0, 1])


def partial_correlation_of_weights(logs: Array, weight: Array, i: int, j: int) -> float:
    """r of the pair as a function of row weights, by a pseudo-inverse."""
    w = weight / weight.sum()
    clr = logs - logs.mean(axis=1, keepdims=True)
    clr = clr - w @ clr
    precision = np.linalg.pinv(clr.T @ (w[:, None] * clr), hermitian=True, rcond=1e-10)
    return float(-precision[i, j] / np.sqrt(precision[i, i] * precision[j, j]))


def influence_by_differences(logs: Array, i: int, j: int, step: float = 1e-5) -> Array:
    """n ∂r/∂w_k at equal weights that sum to 1, by central differences: the influence value of each row."""
    n = len(logs)
    out = np.empty(n)
    for k in range(n):
        up, down = np.ones(n), np.ones(n)
        up[k] += step
        down[k] -= step
        change = partial_correlation_of_weights(logs, up, i, j) - partial_correlation_of_weights(logs, down, i, j)
        out[k] = n * change / (2 * step)
    return out


def bh_edges(pvalues: Array, level: float) -> int:
    """Number of Benjamini-Hochberg rejections, from the definition."""
    ordered = np.sort(pvalues)
    below = np.flatnonzero(ordered <= level * np.arange(1, len(ordered) + 1) / len(ordered))
    return 0 if len(below) == 0 else int(below[-1]) + 1


def normal_score(logs: Array, v: Array) -> float:
    """Mean log-density of the rows in orthonormal coordinates at their own mean and covariance."""
    z = logs @ v
    density = stats.multivariate_normal(z.mean(axis=0), np.cov(z.T))
    return float(density.logpdf(z).mean())


def table_a(logs: Array, r: Array) -> dict[str, Any]:
    """Partial variances, R², and relatives."""
    n, d = logs.shape
    pv, r2, by_reference = [], [], np.full((d, d), np.nan)
    for i in range(d):
        for k in range(d):
            if k == i:
                continue
            others = [m for m in range(d) if m not in (i, k)]
            ratios = logs - logs[:, [k]]
            e = residual(ratios[:, i], ratios[:, others])
            by_reference[i, k] = 1 - e @ e / np.sum((ratios[:, i] - ratios[:, i].mean()) ** 2)
        pv.append(float(e @ e / (n - 1)))
        rest = [m for m in range(d) if m != i]
        target = logs[:, i] - logs[:, rest].mean(axis=1)
        e = residual(target, (logs[:, rest] - logs[:, [rest[0]]])[:, 1:])
        r2.append(float(1 - e @ e / np.sum((target - target.mean()) ** 2)))
    clr = logs - logs.mean(axis=1, keepdims=True)
    gamma = np.cov(clr.T)
    values = np.linalg.eigvalsh(gamma)[1:]
    tau = np.array([[np.var(logs[:, a] - logs[:, b], ddof=1) for b in range(d)] for a in range(d)])
    total = tau.sum(axis=1)
    return {
        "partial_variance": pv,
        "r2": r2,
        "r2_by_reference": [[None if a == b else by_reference[a, b] for b in range(d)] for a in range(d)],
        "partial_correlation": r.tolist(),
        "variation": tau.tolist(),
        "trace": float(np.trace(gamma)),
        "condition": float(values[-1] / values[0]),
        "score": normal_score(logs, helmert(d)),
        "basis_variance": ((total - total.sum() / (2 * (d - 1))) / (d - 2)).tolist(),
        "rho_p": [[1 - tau[a, b] / (gamma[a, a] + gamma[b, b]) for b in range(d)] for a in range(d)],
        "symmetric_balances": [[1.0 if a == b else symmetric_balances(logs, a, b) for b in range(d)] for a in range(d)],
    }


def table_b(logs: Array, r: Array, variances: Array) -> dict[str, Any]:
    """Tests of all pairs, conditional-independence tests in a subcomposition, one influence standard error."""
    n, d = logs.shape
    upper = np.triu_indices(d, 1)
    dof = n - d + 1
    pairs = r[upper]
    t = 2 * stats.t(dof).sf(np.abs(pairs) * np.sqrt(dof / (1 - pairs**2)))
    fisher = 2 * stats.norm.sf(np.abs(np.arctanh(pairs)) * np.sqrt(n - d))
    half = stats.norm.ppf(0.975) / np.sqrt(n - d)
    omega = 1 / variances
    null = np.sqrt(np.outer(omega, omega) / np.outer(omega.sum() - omega, omega.sum() - omega))[upper]
    x = (pairs - null) / (1 - pairs * null)
    closure = 2 * stats.t(dof).sf(np.abs(x) * np.sqrt(dof / (1 - x**2)))
    five = logs[:, [1, 3, 4, 5, 6]]  # Al, Mg, Ca, Na, K
    tests = []
    for j in (3, 1):  # Al with Na, Al with Mg
        value = partial_correlation_by_regression(five, 0, j, 2)
        free = n - 3 - 1
        p = 2 * stats.t(free).sf(abs(value) * np.sqrt(free / (1 - value**2)))
        tests.append({"r": value, "dof": free, "pvalue": float(p)})
    influence = influence_by_differences(logs, 0, 1)
    return {
        "dof": dof,
        "t_pvalue": t.tolist(),
        "fisher_pvalue": fisher.tolist(),
        "lower": np.tanh(np.arctanh(pairs) - half).tolist(),
        "upper": np.tanh(np.arctanh(pairs) + half).tolist(),
        "closure_null": null.tolist(),
        "closure_pvalue": closure.tolist(),
        "edges": {
            "t_05": bh_edges(t, 0.05),
            "t_10": bh_edges(t, 0.10),
            "fisher_05": bh_edges(fisher, 0.05),
            "closure_05": bh_edges(closure, 0.05),
        },
        "ci_tests": tests,
        "influence_se_si_al": float(np.sqrt(np.sum(influence**2)) / n),
    }


def table_d(logs: Array, r: Array) -> dict[str, Any]:
    """Largest differences in r between the routes to one precision matrix."""
    d = logs.shape[1]
    pivot = helmert(d)[::-1, ::-1]
    routes = {f"alr_{k}": alr_route(logs, k) for k in range(d)}
    routes |= {
        "helmert": ilr_route(logs, helmert(d)),
        "pivot": ilr_route(logs, pivot),
        "constant": constant_route(logs),
    }
    out = {}
    for name, precision in routes.items():
        root = np.sqrt(np.diag(precision))
        value = -precision / np.outer(root, root)
        np.fill_diagonal(value, 1.0)
        out[name] = float(np.abs(value - r).max())
    return out


def main() -> None:
    """Write ``cups.json``."""
    from causalkit.datasets import fetch_roman_glass_cups

    frame = fetch_roman_glass_cups().parts
    logs = np.log(frame.to_numpy(float))
    r = all_partial_correlations(logs)
    first = table_a(logs, r)
    tables = {
        "parts": list(frame.columns),
        "A": first,
        "B": table_b(logs, r, np.array(first["basis_variance"])),
        "D": table_d(logs, r),
    }
    (HERE / "cups.json").write_text(json.dumps(tables) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
