"""The code of the guides for all families, and of the way from file to table, runs as it stands."""

from __future__ import annotations

import re
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", re.MULTILINE)


def run(text: str) -> dict[str, Any]:
    """Names that the page's blocks leave behind, one after the other."""
    names: dict[str, Any] = {"__name__": "__page__"}
    blocks = _BLOCK.findall(text)
    assert blocks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in blocks:
            exec(textwrap.dedent(block), names)
    return names


def test_guide_to_more_data() -> None:
    for package in ("dask.dataframe", "distributed", "torch"):
        pytest.importorskip(package)
    names = run((_DOCS / "guides" / "scale.rst").read_text())
    # What came in blocks equals what comes at once.
    whole = type(names["network"])().fit(names["parts"])
    np.testing.assert_allclose(names["network"].partial_correlation_, whole.partial_correlation_, atol=1e-9)
    trial = names["trial"]
    at_once = names["correction"].effect(trial["predicted"], treatment=trial["treated"], estimator="difference")
    np.testing.assert_allclose(names["accumulator"].result().estimate, at_once.estimate, rtol=1e-10)
    sample, model = names["sample"], names["model"]
    same = type(model)(**model.get_params()).fit(sample.X, sample.y)
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=1e-8)


def test_guide_to_other_packages() -> None:
    for package in ("econml", "torch_geometric", "networkx"):
        pytest.importorskip(package)
    names = run((_DOCS / "guides" / "interoperability.rst").read_text())
    assert np.all(names["low"] < names["high"])
    np.testing.assert_allclose(names["coefficients"], names["result"].estimate, rtol=1e-10)
    assert set(names["search"].best_params_) == {"final_model"}
    assert names["back"].number_of_edges() == names["club"].number_of_edges()
    assert names["same"].n_edges == names["graph"].n_edges


def test_from_file_to_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polars")
    page = (_DOCS / "start.rst").read_text()
    start, end = page.index("From file to table\n"), page.index("Save and load\n")
    rng = np.random.default_rng(0)
    wealth, treated = rng.normal(size=300), np.tile([0, 1], 500)
    survey = {"predicted": 0.5 * wealth + 0.5 * rng.normal(size=300), "wealth": wealth, "village": np.arange(300) // 6}
    trial = {"predicted": 0.2 * treated + rng.normal(size=1000), "treated": treated, "village": np.arange(1000) // 10}
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(survey).to_csv("survey.csv", index=False)
    pd.DataFrame(trial | {"district": np.arange(1000) // 100}).to_csv("trial.csv", index=False)
    names = run(page[start:end])
    saved = pd.read_csv("effect.csv", index_col=0)
    pd.testing.assert_frame_equal(saved, names["table"], check_names=False, check_dtype=False)
    np.testing.assert_allclose(names["trial"]["corrected"].to_numpy(), names["corrected"])
