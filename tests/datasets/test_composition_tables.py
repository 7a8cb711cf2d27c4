"""Readers of real compositions against counts published with the data, and the search for their files."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from causalkit.datasets import (
    composition_tables,
    data_files,
    fetch_american_gut,
    fetch_gemas_soil,
    fetch_roman_glass_cups,
    fetch_soil_otu,
    fetch_yeast_absolute,
    load_expenditure_shares,
    load_school_shares,
)
from causalkit.exceptions import DatasetNotFoundError
from tests.datasets.composition_files import fetch_or_skip

FETCHERS = [
    (fetch_american_gut, "SpiecEasi", "amgut1.filt"),
    (fetch_gemas_soil, "robCompositions", "gemas"),
    (fetch_roman_glass_cups, "easyCODA", "cups"),
    (fetch_soil_otu, "Vlasovets/GGLasso", "counts"),
    (fetch_yeast_absolute, "propr", "marg.abs"),
]
CONTENT = b"a,b\n1,2\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def nowhere(monkeypatch):
    """No folder is named, and no folder lies beside the checkout."""
    monkeypatch.delenv("CAUSALKIT_DATA", raising=False)
    monkeypatch.setattr(data_files, "_checkout_neighbour", lambda: None)


def test_cups():
    cups = fetch_or_skip(fetch_roman_glass_cups)
    assert cups.part_names == ["Si", "Al", "Fe", "Mg", "Ca", "Na", "K", "Ti", "P", "Mn", "Sb"]
    assert cups.parts.shape == (47, 11) and (cups.parts > 0).all(axis=None)
    assert sorted(set(cups.parts["Mn"])) == [0.01, 0.02, 0.03]
    # Total variance of the log-ratios, known to six digits.
    logs = np.log(cups.parts.to_numpy())
    assert round((logs - logs.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).sum(), 6) == 0.236098


def test_soil_counts_lose_the_pseudo_count_and_get_their_ph_by_sample():
    soil = fetch_or_skip(fetch_soil_otu)
    counts = soil.parts
    assert counts.shape == (89, 116) and counts.dtypes.eq("int64").all() and counts.index.name == "sample"
    assert counts.min(axis=None) == 0 and round((counts == 0).mean(axis=None), 2) == 0.67
    assert counts.loc["103.BB1"].sum() == 1 and (counts.drop(index="103.BB1").sum(axis=1) > 1).all()
    kept = counts.drop(index="103.BB1")
    kept = kept.loc[:, (kept > 0).sum() >= 20]
    assert kept.shape == (88, 95) and round((kept == 0).mean(axis=None), 2) == 0.63
    assert soil.ph.index.equals(counts.index) and soil.ph.between(3, 10).all()
    # The file of pH starts with these two samples; the counts start with others.
    assert soil.ph["103.BZ1"] == 5.12 and soil.ph["103.CR1"] == 8.0 and counts.index[0] == "103.CA2"


def test_american_gut():
    gut = fetch_or_skip(fetch_american_gut)
    assert gut.parts.shape == (289, 127) and gut.parts.dtypes.eq("int64").all()
    assert round((gut.parts == 0).mean(axis=None), 3) == 0.306


def test_gemas():
    soil = fetch_or_skip(fetch_gemas_soil)
    assert soil.parts.shape == (2108, 18) and (soil.parts > 0).all(axis=None) and "COUNTRY" not in soil.part_names
    assert soil.country.nunique() == 33 and soil.country.iloc[0] == "GER" and len(soil.country) == 2108


def test_yeast():
    yeast = fetch_or_skip(fetch_yeast_absolute)
    assert yeast.parts.shape == (16, 3031) and (yeast.parts > 0).all(axis=None)
    assert yeast.parts.iloc[0, 0] == 3.845


def test_school_shares():
    schools = load_school_shares()
    np.testing.assert_allclose(schools.parts.sum(axis=1), 100, rtol=1e-12)
    assert (schools.parts == 0).sum().to_dict() == {"asian": 5, "black": 5, "hispanic": 0, "other": 0}
    assert (schools.parts > 0).all(axis=1).sum() == 294
    assert schools.parts.iloc[0].round(4).tolist() == [23.2993, 14.2353, 11.4111, 51.0543]
    assert schools.covariates.shape == (303, 3) and schools.covariates["low_income"].iloc[0] == 34.3973


def test_expenditure_shares():
    shares = load_expenditure_shares().parts
    assert shares.shape == (203, 3) and str(shares.index[0]) == "1959Q1" and str(shares.index[-1]) == "2009Q3"
    assert isinstance(shares.index, pd.PeriodIndex) and shares.index.is_monotonic_increasing
    amounts = np.array([1707.4, 286.898, 470.045])
    np.testing.assert_allclose(shares.iloc[0], amounts / amounts.sum(), rtol=1e-14)


@pytest.mark.parametrize(("fetch", "package", "name"), FETCHERS)
def test_missing_file_names_its_origin_and_is_a_file_not_found_error(nowhere, tmp_path, fetch, package, name):
    with pytest.raises(FileNotFoundError, match="nothing is downloaded") as caught:
        fetch(tmp_path)
    message = str(caught.value)
    assert isinstance(caught.value, DatasetNotFoundError)
    for words in (package, name, str(tmp_path), "CAUSALKIT_DATA"):
        assert words in message


@pytest.mark.parametrize(("fetch", "package", "_name"), FETCHERS)
def test_another_version_of_a_file_is_refused(nowhere, tmp_path, fetch, package, _name):
    files = [item for item in vars(composition_tables).values() if isinstance(item, composition_tables._ProvidedFile)]
    for item in files:
        (tmp_path / item.filename).write_bytes(CONTENT)
    with pytest.raises(DatasetNotFoundError, match="wrong checksum") as caught:
        fetch(tmp_path)
    assert package in str(caught.value) and DIGEST in str(caught.value)


def test_order_of_the_folders(monkeypatch, tmp_path):
    folders = {name: tmp_path / name for name in ("given", "variable", "beside")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "own.csv").write_bytes(CONTENT)
    monkeypatch.setattr(data_files, "_checkout_neighbour", lambda: folders["beside"])
    monkeypatch.setenv("CAUSALKIT_DATA", str(folders["variable"]))

    def found(data_home):
        return data_files.find_provided("own.csv", sha256=DIGEST, origin="", data_home=data_home).parent.name

    assert found(folders["given"]) == "given"
    assert found(None) == "variable"
    assert found(tmp_path / "empty") == "variable"
    monkeypatch.delenv("CAUSALKIT_DATA")
    assert found(None) == "beside"
    with pytest.raises(ValueError, match="plain file name"):
        data_files.find_provided("../own.csv", sha256=DIGEST, origin="")


def test_only_a_checkout_has_a_neighbour(monkeypatch, tmp_path):
    package = tmp_path / "root" / "causalkit" / "datasets"
    package.mkdir(parents=True)
    monkeypatch.setattr(data_files, "_PACKAGE", package)
    assert data_files._checkout_neighbour() is None
    (tmp_path / "root" / "pyproject.toml").touch()
    assert data_files._checkout_neighbour() == tmp_path / "shared" / "data"
