"""Shrinkage against corpcor 1.6.10 (golden values with their script, tests/golden/composition/make_corpcor.R)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from causalkit.composition.covariance import centre_logs
from causalkit.composition.shrinkage import shrink_logs
from causalkit.datasets import fetch_roman_glass_cups
from tests.datasets.composition_files import fetch_or_skip

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/composition/corpcor.json").read_text())


@pytest.mark.parametrize(
    ("case", "method", "weighted"),
    [("logs", "basis", False), ("logs_weighted", "basis", True), ("clr", "logratio", False)],
)
def test_intensities_and_covariance_equal_corpcor(case: str, method: str, weighted: bool) -> None:
    X = np.asarray(fetch_or_skip(fetch_roman_glass_cups).parts)
    data = centre_logs(np.log(X), np.arange(1.0, len(X) + 1) if weighted else None)
    shrunk = shrink_logs(data, method)
    assert shrunk.intensity == pytest.approx(GOLDEN[case]["lambda"], abs=1e-10)
    assert shrunk.variance_intensity == pytest.approx(GOLDEN[case]["lambda_var"], abs=1e-10)
    correlation = (1 - shrunk.intensity) * shrunk.rows.T @ shrunk.rows
    np.fill_diagonal(correlation, 1.0)
    assert_allclose(correlation * np.outer(shrunk.scale, shrunk.scale), GOLDEN[case]["cov"], atol=1e-12)
