"""Loaders of real data against counts and sums published with the data."""

import gzip

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from causalkit.datasets import load_cora, load_diabetes_map, load_income_map, tilt_arms
from causalkit.exceptions import CalibrationError, DataNotFoundError
from tests.datasets.income_map import FILE, income_map_path

HEADER = "income,prediction,lon,lat,test\n"


@pytest.fixture
def no_variables(monkeypatch):
    monkeypatch.delenv("CAUSALKIT_INCOME_MAP", raising=False)
    monkeypatch.delenv("CAUSALKIT_DATA", raising=False)


def slopes(predictions, y):
    cov = np.cov(predictions, y)
    return cov[0, 1] / cov[1, 1], cov[0, 1] / cov[0, 0], cov[0, 1] ** 2 / (cov[0, 0] * cov[1, 1])


def test_cora_counts(no_variables):
    cora = load_cora()
    nodes, edges = cora.nodes, cora.edges
    assert nodes.shape == (2708, 22) and edges.shape == (5278, 2)
    assert nodes["node"].tolist() == list(range(2708))
    assert (edges["source"] < edges["target"]).all() and not edges.duplicated().any()
    assert nodes["subject"].value_counts().to_dict() == {
        "Neural_Networks": 818,
        "Probabilistic_Methods": 426,
        "Genetic_Algorithms": 418,
        "Theory": 351,
        "Case_Based": 298,
        "Reinforcement_Learning": 217,
        "Rule_Learning": 180,
    }
    source, target = edges["source"].to_numpy(), edges["target"].to_numpy()
    degree = np.bincount(np.r_[source, target], minlength=2708)
    assert degree.min() == 1 and degree.max() == 168
    count, labels = connected_components(coo_matrix((np.ones(5278), (source, target)), shape=(2708, 2708)))
    assert count == 78 and np.bincount(labels).max() == 2485
    subject = nodes["subject"].to_numpy()
    assert round((subject[source] == subject[target]).mean(), 3) == 0.810
    components = nodes[cora.feature_names]
    assert components.shape[1] == 20
    assert components.iloc[:, [0, -1]].std().round(3).tolist() == [0.550, 0.304]
    assert "Zhilin Yang" in cora.DESCR


def test_diabetes_map_has_the_stated_slopes():
    patients = load_diabetes_map()
    k, b, r_squared = slopes(patients.predictions, patients.y)
    assert (round(k, 3), round(b, 3), round(r_squared, 3)) == (0.507, 0.975, 0.495)
    assert patients.features.shape == (442, 10)
    frame = patients.frame
    assert np.bincount(frame["test"]).tolist() == [221, 221]
    for column, field in [
        ("progression", "y"),
        ("prediction", "predictions"),
        ("treatment", "treatment"),
        ("propensity", "propensity"),
    ]:
        np.testing.assert_array_equal(frame[column], patients[field])
    # Arms come first from the generator, so that they equal those of a direct call.
    np.testing.assert_array_equal(patients.treatment, tilt_arms(patients.y, random_state=0).treatment)


@pytest.mark.parametrize(
    ("design", "probability"),
    [
        ("smooth", lambda y, p: 1 / (1 + np.exp(-1.2 * (y - p.mean()) / p.std()))),
        ("rich", lambda y, p: np.where(y > np.quantile(p, 0.85), 0.75, 0.25)),
        ("poor", lambda y, p: np.where(y < np.quantile(p, 0.25), 0.7, 0.3)),
    ],
)
def test_tilted_arms_follow_their_formula(design, probability):
    rng = np.random.default_rng(3)
    population = rng.gamma(2.0, size=20_000)
    y = population[:400]
    arms = tilt_arms(y, design=design, population=population, random_state=5)
    expected = probability(y, population)
    np.testing.assert_allclose(arms.propensity, expected, rtol=1e-12)
    np.testing.assert_array_equal(arms.treatment, np.random.default_rng(5).random(400) < expected)
    # The effect is the mean over draws of the arms: brute force over a large population.
    drawn = tilt_arms(population, design=design, random_state=6)
    treated = drawn.treatment == 1
    contrast = population[treated].mean() - population[~treated].mean()
    se = np.sqrt(population[treated].var() / treated.sum() + population[~treated].var() / (~treated).sum())
    assert abs(contrast - arms.effect) < 4 * se


def test_tilted_arms_failures():
    with pytest.raises(ValueError, match="design must be one of"):
        tilt_arms([1.0, 2.0], design="flat")
    with pytest.raises(CalibrationError, match="constant"):
        tilt_arms([1.0, 1.0])


def test_income_map_check_sums():
    data = load_income_map(income_map_path())
    assert len(data.frame) == 91_377 and list(data.frame.columns) == ["income", "prediction", "lon", "lat", "test"]
    assert len(data.calibration) == len(data.calibration_y) == 73_102
    assert len(data.trial) == len(data.y) == 18_275
    k, b, r_squared = slopes(data.calibration_predictions, data.calibration_y)
    assert round(k, 9) == 0.469727124 and round(b, 4) == 0.9519 and round(r_squared, 4) == 0.4471
    assert round(data.calibration_predictions.mean() - k * data.calibration_y.mean(), 3) == 33996.028
    assert round(data.y.mean(), 1) == 63819.6 and round(data.predictions.mean(), 1) == 63693.2
    assert round(slopes(data.predictions, data.y)[0], 4) == 0.4704
    effects = [tilt_arms(data.calibration_y / 1e4, design=d).effect for d in ("smooth", "rich", "poor")]
    assert np.round(effects, 4).tolist() == [2.5312, 1.8769, -1.2305]


def write_map(path, text):
    path.write_bytes(gzip.compress(text.encode()))
    return path


GOOD = HEADER + "1,2,-90,40,0\n3,4,-91,41,1\n"


def test_income_map_is_looked_for_in_order(no_variables, monkeypatch, tmp_path):
    write_map(tmp_path / FILE, GOOD)
    monkeypatch.setenv("CAUSALKIT_DATA", str(tmp_path))
    assert load_income_map().predictions.tolist() == [4.0]
    named = write_map(tmp_path / "named.csv.gz", GOOD.replace("3,4", "3,5"))
    monkeypatch.setenv("CAUSALKIT_INCOME_MAP", str(named))
    assert load_income_map().predictions.tolist() == [5.0]
    given = tmp_path / "plain.csv"
    given.write_text(GOOD.replace("3,4", "3,6"))
    data = load_income_map(given)
    assert data.predictions.tolist() == [6.0] and data.calibration_y.tolist() == [1.0]
    assert data.path == str(given)


@pytest.mark.parametrize("where", ["path", "CAUSALKIT_INCOME_MAP", "CAUSALKIT_DATA", None])
def test_absent_income_map_says_why_and_how(no_variables, monkeypatch, tmp_path, where):
    absent = tmp_path / "absent"
    if where and where != "path":
        monkeypatch.setenv(where, str(absent))
    with pytest.raises(DataNotFoundError) as caught:
        load_income_map(absent if where == "path" else None)
    message = str(caught.value)
    assert (f"{absent}" if where else "no path given, no variable set") in message
    for words in ("not shipped", "no licence", "Earth-Intelligence-Lab/ppi_regression", "Rolf", "path=", FILE):
        assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("income,prediction,lon,lat\n1,2,3,4\n", r"lacks the columns \['test'\]"),
        (HEADER + "1,,-90,40,0\n3,4,-91,41,1\n", "column prediction .* finite numbers"),
        (HEADER + "1,x,-90,40,0\n3,4,-91,41,1\n", "column prediction .* finite numbers"),
        (HEADER + "1,2,-90,40,1\n3,4,-91,41,1\n", "column test"),
    ],
)
def test_wrong_income_map_is_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        load_income_map(write_map(tmp_path / "bad.csv.gz", text))


def test_extra_columns_of_the_income_map_are_dropped(tmp_path):
    path = tmp_path / "more.csv"
    pd.read_csv(write_map(tmp_path / "map.csv.gz", GOOD)).assign(note="x").to_csv(path)
    assert list(load_income_map(path).frame.columns) == ["income", "prediction", "lon", "lat", "test"]
