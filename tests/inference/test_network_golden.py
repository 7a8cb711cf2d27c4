"""Network covariances against networkinference 0.0.4 (golden values with their script, tests/golden/inference)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from causalkit.exceptions import NetworkDependenceWarning
from causalkit.inference import network_covariance, suggest_bandwidth
from tests.golden.inference.make_network import CASES, alternating, data

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/inference/network.json").read_text())
PAIRS = [(name, int(bandwidth)) for name in CASES for bandwidth in GOLDEN[name]["covariance"]]


@pytest.mark.parametrize(("name", "bandwidth"), PAIRS)
def test_covariances_of_its_examples(name: str, bandwidth: int) -> None:
    """Every bandwidth up to the one that it chooses itself."""
    adjacency, estimate, influence = data(name, GOLDEN)
    assert_allclose(estimate, GOLDEN[name]["estimate"], rtol=1e-12)
    found = network_covariance(influence, adjacency, kernel="uniform", bandwidth=bandwidth)
    expected = np.array(GOLDEN[name]["covariance"][str(bandwidth)])
    assert_allclose(found.cov, expected, rtol=1e-11, atol=1e-15)
    assert_allclose(found.std_error, np.sqrt(np.diag(expected)), rtol=1e-11)
    # None of them has a negative eigenvalue, so that the default form is the same.
    assert_allclose(network_covariance(influence, adjacency, bandwidth=bandwidth).cov, found.cov, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_bandwidths_of_its_examples(name: str) -> None:
    adjacency, _, _ = data(name, GOLDEN)
    rule = suggest_bandwidth(adjacency, n_sources=500)
    assert rule.path_length == pytest.approx(GOLDEN[name]["path_length"], rel=1e-12)
    assert rule.bandwidth == GOLDEN[name]["bandwidth"]
    assert suggest_bandwidth(adjacency).bandwidth == GOLDEN[name]["bandwidth"]  # with sampled sources


def test_its_replacement_reaches_twice_as_far_as_ours() -> None:
    """Balls of radius b overlap up to 2b: its replacement at b = 1 is ours at b = 2, whose balls have radius b/2."""
    ring = sparse.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[1, -1, 59, -59], shape=(60, 60))
    psi = alternating() - alternating().mean()
    with pytest.warns(NetworkDependenceWarning, match="leaves no positive variance"):
        assert network_covariance(psi, ring, kernel="uniform", bandwidth=1).cov[0, 0] < 0
    found = network_covariance(psi, ring, kernel="psd", bandwidth=2)
    assert 60 * found.cov[0, 0] == pytest.approx(GOLDEN["alternating"]["omega"], rel=1e-12)
