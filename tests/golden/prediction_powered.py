"""Golden values of prediction-powered estimates from ppi-python 0.2.3.

Run ``python tests/golden/prediction_powered.py`` where ``ppi-python`` is installed to write the JSON beside this
file. ``designs`` needs numpy alone and is what the tests import.

The peer's interval for least squares tunes λ a second time, at the tuned estimate; here λ is tuned once, at the
estimate of λ = 1, and then handed to the peer, so that its interval is centred at its own estimate.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_suffix(".json")


def designs() -> dict[str, dict[str, Any]]:
    """Samples by name: X, y, f with n labelled rows first."""
    rng = np.random.default_rng(20250802)
    n, total = 300, 3300
    x = rng.normal(size=total)
    y = 0.5 + x + rng.normal(size=total)
    f = 0.3 + 0.8 * x + 0.6 * (y - 0.5 - x) + 0.4 * rng.normal(size=total)
    line = {"X": np.column_stack([np.ones(total), x]), "y": y, "f": f, "n": n}

    rng = np.random.default_rng(7)
    n, total = 150, 550
    X = np.column_stack([np.ones(total), rng.normal(size=(total, 2)), rng.exponential(size=total)])
    y = X @ np.array([1.0, 0.5, -0.5, 0.3]) + rng.standard_t(5, size=total)
    plane = {"X": X, "y": y, "f": 2.0 + 0.4 * y + 0.5 * rng.normal(size=total), "n": n}
    against = {"X": X, "y": y, "f": -0.7 * y + 0.5 * rng.normal(size=total), "n": n}
    return {"line": line, "plane": plane, "against": against}


def _interval(interval: Any) -> list[list[float]]:
    return [np.ravel(side).astype(float).tolist() for side in interval]


def _golden(X: np.ndarray, y: np.ndarray, f: np.ndarray, n: int) -> dict[str, Any]:
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate, ppi_ols_ci, ppi_ols_pointestimate
    from ppi_py.ppi import _calc_lam_glm, _ols_get_stats

    X, y, f, X_u, f_u = X[:n], y[:n], f[:n], X[n:], f[n:]
    out: dict[str, Any] = {}
    for name, value in (("ppi", 1), ("ppi++", None), ("classical", 0)):
        point = ppi_mean_pointestimate(y, f, f_u, lam=value)
        interval = ppi_mean_ci(y, f, f_u, alpha=0.05, lam=value)
        out[f"mean {name}"] = {"estimate": np.ravel(point).tolist(), "interval": _interval(interval)}
    first = ppi_ols_pointestimate(X, y, f, X_u, f_u, lam=1)
    tuned = float(_calc_lam_glm(*_ols_get_stats(first, X, y, f, X_u, f_u), clip=True))
    for name, value in (("ppi", 1.0), ("ppi++", tuned), ("classical", 0.0)):
        point = ppi_ols_pointestimate(X, y, f, X_u, f_u, lam=value)
        interval = ppi_ols_ci(X, y, f, X_u, f_u, alpha=0.05, lam=value)
        out[f"ols {name}"] = {"estimate": point.tolist(), "interval": _interval(interval), "power_tuning": value}
    return out


def main() -> None:
    """Write the golden values."""
    from importlib.metadata import version

    values: dict[str, Any] = {name: _golden(**design) for name, design in designs().items()}
    values["versions"] = {"ppi-python": version("ppi-python"), "numpy": np.__version__}
    PATH.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
