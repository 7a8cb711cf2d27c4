"""Network standard errors of networkinference 0.0.4, on the examples of its documentation.

Run from the checkout, with networkinference installed: ``python tests/golden/inference/make_network.py``. It writes
``network.json`` beside itself. Versions: Python 3.11, numpy 2.4, scipy 1.17, networkx 3.6, networkinference 0.0.4.

The data of the examples are drawn again by :func:`data`, from the formulas in the documentation of
``networkinference.utils.FakeData`` and the same seeds, so that the tests do without the package; the script stops
where they differ. Edges of the Erdős–Rényi networks, which networkx draws, are stored.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.stats import binom

OUTPUT = Path(__file__).with_name("network.json")
N, MEAN_DEGREE, TREATED = 500, 5, 0.15
CASES = {
    "least_squares_rgg": ("ols", "RGG", 1),
    "least_squares_er": ("ols", "ER", 2),
    "weighting_rgg": ("ipw", "RGG", 3),
    "weighting_er": ("ipw", "ER", 4),
}


def neighbour_means(adjacency: Any, values: Any) -> Any:
    """Mean over neighbours, 0 for isolates."""
    return adjacency @ values / np.maximum(adjacency.sum(axis=1), 1)


def random_geometric_edges(seed: int) -> Any:
    """Links of points in the unit square within a radius."""
    positions = np.random.RandomState(seed).uniform(size=(N, 2))
    return cKDTree(positions).query_pairs((MEAN_DEGREE / math.pi / N) ** 0.5, output_type="ndarray")


def as_matrix(edges: Any) -> Any:
    """Symmetric adjacency."""
    u, v = np.asarray(edges).T
    half = sparse.csr_array((np.ones(len(u)), (u, v)), shape=(N, N))
    return sparse.csr_array(half + half.T)


def data(name: str, golden: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Adjacency, estimate and influence values (n, q) on the scale of a mean, of one example."""
    model, kind, seed = CASES[name]
    adjacency = as_matrix(random_geometric_edges(seed) if kind == "RGG" else golden[name]["edges"])
    rng = np.random.RandomState(seed)
    if model == "ols":
        x, noise = rng.normal(size=N), rng.normal(size=N)
        x = x + neighbour_means(adjacency, x)
        y = 1 + x + noise + neighbour_means(adjacency, noise)
        design = np.column_stack([np.ones(N), x])
        coef = np.linalg.solve(design.T @ design, design.T @ y)
        scores = design * (y - design @ coef)[:, None]
        return adjacency, coef, N * np.linalg.solve(design.T @ design, scores.T).T
    treated = rng.binomial(1, TREATED, N)
    gain, noise = rng.normal(1, 1, size=N), rng.normal(0, 1, size=N)
    exposed = adjacency @ treated > 0
    y = (gain + neighbour_means(adjacency, gain)) * exposed + noise + neighbour_means(adjacency, noise)
    none = binom(adjacency.sum(axis=1), TREATED).pmf(0)
    terms = np.where(exposed, y / np.where(exposed, 1 - none, 1.0), -y / none)
    return adjacency, np.array([terms.mean()]), (terms - terms.mean())[:, None]


def make_case(name: str) -> dict[str, Any]:
    import networkinference as ni
    from networkinference.utils import FakeData

    model, kind, seed = CASES[name]
    *columns, network = getattr(FakeData, model)(n=N, network=kind, avg_deg=MEAN_DEGREE, seed=seed)
    fit = ni.OLS(*columns, network) if model == "ols" else ni.IPW(*columns, network)
    summands = fit.scores if model == "ols" else fit.summands
    _, length, own, _ = ni.core.network_hac(summands, network, disp=True)
    case: dict[str, Any] = {
        "estimate": np.atleast_1d(fit.estimate).tolist(),
        "path_length": float(length),
        "bandwidth": int(own),
        "covariance": {},
    }
    if kind == "ER":
        case["edges"] = [[int(u), int(v)] for u, v in network.edges]
    for bandwidth in range(int(own) + 1):
        fit.network_se(b=bandwidth, verbose=False)
        covariance = np.atleast_2d(fit.network_se_vcov) / (1 if model == "ols" else N)
        case["covariance"][str(bandwidth)] = covariance.tolist()
        if bandwidth and ni.core.network_hac(summands, network, b=bandwidth, disp=True)[3]:
            raise SystemExit(f"{name}: bandwidth {bandwidth} gives the positive replacement, not the plain form")
    adjacency, estimate, influence = data(name, {name: case})
    np.testing.assert_array_equal(adjacency.toarray(), _matrix_of(network))
    np.testing.assert_allclose(estimate, case["estimate"], rtol=1e-12)
    np.testing.assert_allclose(influence.T @ influence / N**2, case["covariance"]["0"], rtol=1e-12)
    return case


def _matrix_of(network: Any) -> Any:
    import networkx as nx

    return nx.to_numpy_array(network, nodelist=range(N))


def make_replaced() -> dict[str, Any]:
    """Neighbours of opposite signs on a ring, where the plain form is negative, and its positive replacement."""
    import networkinference as ni
    import networkx as nx

    values, ring = alternating(), nx.cycle_graph(60)
    found, _, _, replaced = ni.core.network_hac(values, ring, b=1, disp=True)
    if not replaced:
        raise SystemExit("the plain form was expected to be negative")
    return {"omega": float(found)}


def alternating() -> Any:
    """Signs that change from node to node, with a little noise."""
    return np.tile([1.0, -1.0], 30) + 0.1 * np.random.RandomState(0).normal(size=60)


def main() -> None:
    golden: dict[str, Any] = {name: make_case(name) for name in CASES}
    golden["alternating"] = make_replaced()
    text = json.dumps(golden, indent=1)
    # One line per list of numbers: edges and matrices stay readable.
    OUTPUT.write_text(_compact(text) + "\n", encoding="utf-8")
    print(f"wrote {OUTPUT}")


def _compact(text: str) -> str:
    flat = re.sub(r"\[\s+(-?[\d.e-]+),\s+(-?[\d.e-]+)\s+\]", r"[\1, \2]", text)
    return re.sub(r"\],\s+\[", "], [", flat)


if __name__ == "__main__":
    main()
