"""Reference values of zero replacement, by plain loops over rows and cells; nothing of the package is used.

Run from the checkout: ``python tests/golden/composition/make_zeros.py [roman_glass_cups.csv]``. It writes
``zeros.json`` beside itself. Without the file of the cups, which does not ship, the stored numbers of the
cups stay. Versions: Python 3.11, numpy 2.4, scipy 1.17.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

OUTPUT = Path(__file__).with_name("zeros.json")
FRACTION, THRESHOLD = 0.65, 0.5
COUNTS = [[10, 0, 5, 1], [3, 2, 0, 0], [0, 4, 6, 9], [8, 1, 2, 3]]
CUP_LIMITS = {"Mg": 0.45, "K": 0.40, "Ti": 0.06}


def mean(values):
    return sum(values) / len(values)


def close(row):
    return [value / sum(row) for value in row]


def centred_logs(row):
    logs = [math.log(value) for value in row]
    return [value - mean(logs) for value in logs]


def transpose(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def cell_limits(rows):
    """Smallest positive value of each column."""
    return [min(value for value in column if value > 0) for column in transpose(rows)]


def multiplicative(row, replaced):
    """Replaced cells as given, the others less their share of the mass."""
    mass = sum(r for x, r in zip(row, replaced, strict=True) if x == 0)
    total = sum(row)
    return [r if x == 0 else x * (1 - mass / total) for x, r in zip(row, replaced, strict=True)]


def counts_by_prior(rows, method):
    """Proportions after gbm, sq, bl or czm, every row with the totals of the other rows."""
    n_parts = len(rows[0])
    smallest = [min(row[j] / sum(row) for row in rows if row[j] > 0) for j in range(n_parts)]
    out = []
    for i, row in enumerate(rows):
        total = sum(row)
        others = [sum(rows[k][j] for k in range(len(rows)) if k != i) for j in range(n_parts)]
        prior = close(others)
        strength = {"gbm": 1 / math.prod(prior) ** (1 / n_parts), "sq": math.sqrt(total), "bl": n_parts, "czm": 0}[
            method
        ]
        replaced = []
        for j in range(n_parts):
            r = FRACTION * THRESHOLD / total if method == "czm" else prior[j] * strength / (total + strength)
            replaced.append(FRACTION * smallest[j] if r > smallest[j] else r)
        out.append(multiplicative(close(row), replaced))
    return out


def james_stein(row):
    total, even = sum(row), 1 / len(row)
    q = close(row)
    below = (total - 1) * sum((even - value) ** 2 for value in q)
    weight = min(max((1 - sum(value**2 for value in q)) / below, 0), 1) if below > 0 else 1
    return [weight * even + (1 - weight) * value for value in q]


def lognormal(rows, limits):
    """Censored maximum likelihood by a simplex search, then the multiplicative form."""
    replaced = []
    for column, limit in zip(transpose(rows), limits, strict=True):
        seen = np.array([math.log(x) for x in column if x > 0])
        k = sum(x == 0 for x in column)
        if k == 0:
            replaced.append(0.0)
            continue

        def loss(theta, seen=seen, k=k, limit=limit):
            return -(norm.logpdf(seen, theta[0], math.exp(theta[1])).sum()
                     + k * norm.logcdf(math.log(limit), theta[0], math.exp(theta[1])))  # fmt: skip

        found = minimize(loss, [seen.mean(), math.log(seen.std())], method="Nelder-Mead",
                         options={"xatol": 1e-11, "fatol": 1e-13, "maxiter": 10_000})  # fmt: skip
        mu, sd = found.x[0], math.exp(found.x[1])
        z = (math.log(limit) - mu) / sd
        replaced.append(math.exp(mu - sd * norm.pdf(z) / norm.cdf(z)))
    return [multiplicative(row, replaced) for row in rows]


def censored_regressions(rows, limits, start, centred=True, tol=1e-4, max_iter=50):
    """Additive log-ratios to the first part without zeros, one row at a time; rows and iterations."""
    n, n_parts = len(rows), len(rows[0])
    ref = next(j for j in range(n_parts) if all(row[j] > 0 for row in rows))
    other = [j for j in range(n_parts) if j != ref]
    began = [multiplicative(row, [FRACTION * limit for limit in limits]) for row in rows]
    y = np.array([[math.log(row[j] / row[ref]) for j in other] for row in began])
    zero = np.array([[row[j] == 0 for j in other] for row in rows])
    if start == "complete":
        m = np.array([y[~zero[:, k], k].mean() for k in range(n_parts - 1)])
        c = np.cov(y[~zero.any(axis=1)], rowvar=False)
    else:
        m, c = y.mean(axis=0), np.cov(y, rowvar=False)
    iteration, change = 0, math.inf
    while change >= tol and iteration < max_iter:
        iteration += 1
        extra = np.zeros_like(c)
        s = c if centred else c + np.outer(m, m)
        for i in range(n):
            seen, gone = np.flatnonzero(~zero[i]), np.flatnonzero(zero[i])
            if not len(gone) or not len(seen):
                continue
            inverse = np.linalg.inv(s[np.ix_(seen, seen)])
            b = inverse @ s[np.ix_(seen, gone)]
            left = s[np.ix_(gone, gone)] - s[np.ix_(gone, seen)] @ b
            for k, j in enumerate(gone):
                intercept = m[j] - m[seen] @ b[:, k]
                mu = (intercept if centred else -intercept) + y[i, seen] @ b[:, k]
                z = (math.log(limits[other[j]] / rows[i][ref]) - mu) / math.sqrt(left[k, k])
                y[i, j] = mu - math.sqrt(left[k, k]) * math.exp(norm.logpdf(z) - norm.logcdf(z))
            extra[np.ix_(gone, gone)] += left
        new_m = y.mean(axis=0)
        new_c = ((y - new_m).T @ (y - new_m) + extra) / (n - 1)
        change = max(np.abs(new_m - m).max(), np.abs(new_c - c).max())
        m, c = new_m, new_c
    out = [list(row) for row in rows]
    for i in range(n):
        for k, j in enumerate(other):
            if zero[i, k]:
                out[i][j] = rows[i][ref] * math.exp(y[i, k])
    return out, iteration


def low_rank(rows, limits, q=2, beta=0.5, tol=1e-4, max_iter=1000):
    """Regularised low-rank iteration; rows (in units of the data) and rounds."""
    n, n_parts = len(rows), len(rows[0])
    p, k = n_parts - 1, min(n_parts - 1, n - 1)
    top = [max(column) for column in transpose(rows)]
    zero = [[x == 0 for x in row] for row in rows]
    total = [sum(row) for row in rows]
    cap = [[limits[j] if zero[i][j] else top[j] for j in range(n_parts)] for i in range(n)]

    def cut(i, shares):
        return centred_logs([min(total[i] * s, c) for s, c in zip(shares, cap[i], strict=True)])

    def exp_close(row):
        return close([math.exp(value) for value in row])

    def column_means(table):
        return [mean(column) for column in transpose(table)]

    logs = [
        centred_logs([FRACTION * limits[j] if zero[i][j] else rows[i][j] for j in range(n_parts)]) for i in range(n)
    ]
    first = m = column_means(logs)
    logs = [[a - b for a, b in zip(row, m, strict=True)] for row in logs]
    shares, plain, shrunk, old = [exp_close(row) for row in logs], logs, logs, None
    for rounds in range(1, max_iter + 1):
        fit = [exp_close(row) for row in shrunk]
        shares = [[fit[i][j] if zero[i][j] else shares[i][j] for j in range(n_parts)] for i in range(n)]
        back = [exp_close([a + b for a, b in zip(centred_logs(row), m, strict=True)]) for row in shares]
        logs = [cut(i, back[i]) for i in range(n)]
        m = column_means(logs)
        for i in range(n):
            own, model = exp_close(logs[i]), exp_close([a + b for a, b in zip(plain[i], m, strict=True)])
            mixed = [own[j] if zero[i][j] else model[j] ** (1 - beta) * own[j] ** beta for j in range(n_parts)]
            logs[i] = cut(i, close(mixed))
        m = column_means(logs)
        logs = [[a - b for a, b in zip(row, m, strict=True)] for row in logs]
        shares = [exp_close(row) for row in logs]
        u, d, vt = np.linalg.svd(np.array(logs) / math.sqrt(n), full_matrices=False)
        noise = n * p / k * sum(d[q:] ** 2) / ((n - 1) * p - (n - 1) * q - p * q + q * q)
        noise = min(noise, d[q] ** 2)
        plain = sum(math.sqrt(n) * d[a] * np.outer(u[:, a], vt[a]) for a in range(q)).tolist()
        shrunk = sum(math.sqrt(n) * (d[a] ** 2 - noise) / d[a] * np.outer(u[:, a], vt[a]) for a in range(q)).tolist()
        misfit = 0.0
        for i in range(n):
            model = exp_close(shrunk[i])
            ratio = [1.0 if zero[i][j] else shares[i][j] / model[j] for j in range(n_parts)]
            misfit += sum(value**2 for value in centred_logs(ratio)) / n
        if rounds >= 5 and (abs(1 - misfit / old) < tol or misfit < tol):
            break
        old = misfit
    out = []
    for i in range(n):
        model = exp_close([a + b for a, b in zip(logs[i], first, strict=True)])
        whole = close([model[j] if zero[i][j] else rows[i][j] / total[i] for j in range(n_parts)])
        bounded = [min(total[i] * s, c) for s, c in zip(whole, cap[i], strict=True)]
        final = close([bounded[j] if zero[i][j] else rows[i][j] for j in range(n_parts)])
        out.append([final[j] * total[i] if zero[i][j] else rows[i][j] for j in range(n_parts)])
    return out, rounds


def simulated_table():
    """40 × 6 log-normal amounts on two factors, four decimals, zeros below the limits of three parts."""
    rng = np.random.default_rng(20250812)
    factors = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 6)) * 0.5
    x = np.round(np.exp([2.0, 1.0, 1.0, 0.5, 0.0, 0.0] + factors + 0.25 * rng.normal(size=(40, 6))), 4)
    limits = [0.1, 0.1, 0.1, 1.0, 0.7, 0.6]
    x[x < limits] = 0.0
    x[7, 1:] = 0.0  # of this row the reference alone was observed
    return x.tolist(), limits


def by_every_method(rows, limits):
    """Proportions by the methods with limits, and the iterations."""
    tables = {"multiplicative": ([multiplicative(row, [FRACTION * limit for limit in limits]) for row in rows], 1)}
    tables["lognormal"] = lognormal(rows, limits), 1
    tables["lrem_complete"] = censored_regressions(rows, limits, "complete")
    tables["lrem_multiplicative"] = censored_regressions(rows, limits, "multiplicative")
    tables["lrem_uncentred"] = censored_regressions(rows, limits, "complete", centred=False)
    tables["lrsvd"] = low_rank(rows, limits)
    return {name: ([close(row) for row in table], rounds) for name, (table, rounds) in tables.items()}


def read_cups(path):
    with open(path, newline="") as handle:
        names, *lines = list(csv.reader(handle))
    rows = [[float(value) for value in line] for line in lines]
    limits = [CUP_LIMITS.get(name, low) for name, low in zip(names, cell_limits(rows), strict=True)]
    return names, [[0.0 if x < low else x for x, low in zip(row, limits, strict=True)] for row in rows], limits


def cups_means(path):
    """Mean log proportion of the imputed cells of each part with zeros."""
    names, rows, limits = read_cups(path)
    out = {}
    for method, (table, rounds) in by_every_method(rows, limits).items():
        means = {
            name: mean([math.log(full[j]) for row, full in zip(rows, table, strict=True) if row[j] == 0])
            for j, name in enumerate(names)
            if name in CUP_LIMITS
        }
        out[method] = {"n_iter": rounds, "mean_log_proportion": means}
    return out


def main(cups):
    stored = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    rows, limits = simulated_table()
    values = {
        "counts": {
            "data": COUNTS,
            **{method: counts_by_prior(COUNTS, method) for method in ("gbm", "sq", "bl", "czm")},
            "james_stein": [james_stein(row) for row in COUNTS],
        },
        "simulated": {
            "data": rows,
            "limits": limits,
            **{name: {"n_iter": k, "proportions": t} for name, (t, k) in by_every_method(rows, limits).items()},
        },
        "cups": cups_means(cups) if cups else stored["cups"],
    }
    OUTPUT.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
