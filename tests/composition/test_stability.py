"""Stability selection against counts made by hand, and its seeds, bounds and refusals."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline

from causalkit.composition import CompositionalPartialCorrelation
from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso
from causalkit.composition.stability import stability_selection
from causalkit.composition.subsample_fits import held_shrinkage
from causalkit.composition.transforms import Closure
from causalkit.datasets import make_composition_network
from causalkit.exceptions import TooFewPartsError

PATH = [1.0, 0.7, 0.5, 0.35, 0.25, 0.15]


@pytest.fixture(scope="module")
def network():
    return make_composition_network(n_samples=150, n_parts=10, random_state=0)


class FirstRow(BaseEstimator):
    """Network whose edge a-b is there if the first row of the data is in the subsample; a-c is there always."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def fit(self, X, y=None):
        self.partial_correlation_ = np.eye(3)
        if self.alpha < 1:
            self.partial_correlation_[0, 2] = self.partial_correlation_[2, 0] = 0.5
            if np.asarray(X)[:, 0].max() == 1000:
                self.partial_correlation_[0, 1] = self.partial_correlation_[1, 0] = -0.5
        return self


@pytest.fixture
def marked():
    X = np.exp(np.random.default_rng(1).normal(size=(20, 3)))
    X[0, 0] = 1000
    return pd.DataFrame(X, columns=list("abc"))


def test_frequencies_and_instability_by_hand(marked):
    result = stability_selection(FirstRow(), marked, alphas=[0.5, 1.0], n_subsamples=12, random_state=0)
    # The subsamples are documented: their rows depend on the seed and on their number only.
    theta = result.edge_frequency
    assert theta.shape == (2, 3, 3) and result.subsample_size == 16 and result.alphas.tolist() == [1.0, 0.5]
    np.testing.assert_array_equal(theta[0], 0)
    assert theta[1, 0, 2] == theta[1, 2, 0] == 1 and theta[1, 1, 2] == 0
    share = theta[1, 0, 1]
    assert 0 < share < 1 and (12 * share) % 1 == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(result.instability, [0, 2 * share * (1 - share) / 3], rtol=1e-12)
    assert result.n_fits.tolist() == [12, 12]
    frame = result.to_frame(position=1)
    assert frame.values.tolist() == [["a", "c", 1.0], ["a", "b", share]]
    assert len(result.to_frame(position=1, min_frequency=1.0)) == 1


def test_each_row_is_left_out_as_often_as_it_should(marked):
    result = stability_selection(FirstRow(), marked, alphas=[0.5], n_subsamples=300, subsample_size=8, random_state=3)
    # Share 8/20 of the subsamples hold the first row: 4 standard errors of a binomial with 300 draws.
    assert abs(result.edge_frequency[0, 0, 1] - 0.4) < 4 * np.sqrt(0.4 * 0.6 / 300)


@pytest.mark.parametrize(("threshold", "alpha"), [(0.3, 0.5), (1e-6, 1.0)])
def test_densest_stable_penalty(marked, threshold, alpha):
    result = stability_selection(
        FirstRow(), marked, alphas=[1.0, 0.5], n_subsamples=12, threshold=threshold, random_state=0
    )
    assert result.alpha == alpha and result.alphas[result.selected] == alpha


def test_no_stable_penalty_is_said(marked):
    result = stability_selection(FirstRow(), marked, alphas=[0.5], n_subsamples=12, threshold=1e-6, random_state=0)
    assert result.alpha is None and result.selected is None
    with pytest.raises(ValueError, match="Raise the threshold"):
        result.to_frame()
    with pytest.raises(ValueError, match="position must be below 1"):
        result.to_frame(position=1)


def test_path_of_the_graphical_lasso_by_refitting(network):
    model = CompositionalGraphicalLasso(tol=1e-6)
    result = stability_selection(model, network.X, alphas=PATH, n_subsamples=4, threshold=0.1, random_state=5)
    assert result.subsample_size == int(10 * np.sqrt(150)) == 122
    np.testing.assert_array_equal(result.edge_frequency, result.edge_frequency.transpose(0, 2, 1))
    assert (np.diagonal(result.edge_frequency, axis1=1, axis2=2) == 0).all()
    first, second = np.triu_indices(10, 1)
    theta = result.edge_frequency[:, first, second]
    np.testing.assert_allclose(result.instability, (2 * theta * (1 - theta)).mean(axis=1), rtol=1e-12)
    running = [max(result.instability[: a + 1]) for a in range(6)]
    np.testing.assert_array_equal(result.monotone_instability, running)
    assert result.alpha == min(a for a, value in zip(PATH, running, strict=True) if value <= 0.1)
    # Frequencies are multiples of 1/4, and the sparsest graph is empty.
    assert set(np.unique(4 * result.edge_frequency)) <= {0.0, 1.0, 2.0, 3.0, 4.0} and theta[0].max() == 0
    neighbours = network.adjacency[first, second]
    assert theta[2][neighbours].mean() > 0.8 > 0.3 > theta[2][~neighbours].mean()


def test_bounds_give_the_same_choice_with_fewer_fits(network):
    model = CompositionalGraphicalLasso(tol=1e-6)
    options = {"alphas": PATH, "n_subsamples": 8, "threshold": 0.05, "random_state": 0}
    full = stability_selection(model, network.X, **options)
    bounded = stability_selection(model, network.X, bounded=True, **options)
    assert bounded.alpha == full.alpha
    inside = bounded.n_fits == 8
    assert set(bounded.n_fits) == {2, 8} and inside[bounded.selected]
    np.testing.assert_array_equal(bounded.edge_frequency[inside], full.edge_frequency[inside])
    # Outside the bracket the frequencies are those of the first two subsamples.
    two = stability_selection(model, network.X, **{**options, "n_subsamples": 2})
    np.testing.assert_array_equal(bounded.edge_frequency[~inside], two.edge_frequency[~inside])


def test_seeds_belong_to_subsamples_not_to_their_order(network):
    def run(random_state, **options):
        model = CompositionalGraphicalLasso(tol=1e-5)
        options = {"alphas": [0.5, 0.3], "n_subsamples": 3, **options}
        return stability_selection(model, network.X, random_state=random_state, **options).edge_frequency

    first = run(1)
    np.testing.assert_array_equal(run(1, n_jobs=2), first)
    np.testing.assert_array_equal(run(np.random.RandomState(1)), run(np.random.RandomState(1)))
    assert not np.array_equal(run(2), first)
    np.testing.assert_array_equal(run(1, alphas=[0.3]), first[1:])


def test_a_pipeline_ends_with_the_network(network):
    plain = stability_selection(
        CompositionalGraphicalLasso(), network.X, alphas=[0.6, 0.4], n_subsamples=3, random_state=0
    )
    piped = make_pipeline(Closure(), CompositionalGraphicalLasso())
    result = stability_selection(piped, network.X, alphas=[0.6, 0.4], n_subsamples=3, random_state=0)
    np.testing.assert_array_equal(result.edge_frequency, plain.edge_frequency)
    assert not hasattr(piped[-1], "precision_")


def test_partial_correlations_use_qvalues_of_each_subsample(network):
    model = CompositionalPartialCorrelation(shrinkage=None)
    result = stability_selection(model, network.X, n_subsamples=5, subsample_size=100, random_state=7)
    assert result.alphas is None and result.alpha is None and result.selected == 0
    assert result.edge_frequency.shape == (1, 10, 10)
    # The rows of subsample b come from the seed sequence of the run, spawned by b.
    root = np.random.RandomState(7).randint(2**31 - 1)
    edges = np.zeros((10, 10))
    for b in range(5):
        rng = np.random.default_rng(np.random.SeedSequence(root, spawn_key=(b,)))
        rows = np.sort(rng.choice(150, size=100, replace=False))
        edges += clone(model).fit(network.X[rows]).qvalues_ <= 0.05
    np.testing.assert_allclose(result.edge_frequency[0], edges / 5, atol=1e-15)
    assert result.to_frame()["frequency"].is_monotonic_decreasing


@pytest.mark.parametrize("shrinkage", ["basis", "invariant"])
def test_shrinkage_intensity_of_all_rows_is_held(network, shrinkage):
    X = network.X[:40]
    model = CompositionalPartialCorrelation(shrinkage=shrinkage, test="permutation", n_resamples=5, random_state=0)
    whole = clone(model).fit(X)
    held = held_shrinkage(model, X, 40, 10)
    part = clone(held).fit(X[:25])
    part = getattr(part, "network_", part)
    assert part.shrinkage_ == pytest.approx(whole.shrinkage_, rel=1e-12) and 0 < whole.shrinkage_ < 1
    assert clone(model).fit(X[:25]).shrinkage_ != pytest.approx(whole.shrinkage_, rel=1e-3)
    # With its own rows the held fit is the fit itself.
    again = clone(held).fit(X)
    np.testing.assert_allclose(getattr(again, "network_", again).partial_correlation_, whole.partial_correlation_)
    result = stability_selection(model, X, n_subsamples=2, random_state=0)
    assert ((result.edge_frequency * 2) % 1 == 0).all()


def test_automatic_shrinkage_is_decided_by_all_rows(network):
    # 60 rows of 10 parts are enough to do without shrinkage, 30 of them are not.
    model = CompositionalPartialCorrelation()
    assert held_shrinkage(model, network.X[:60], 60, 10).shrinkage is None
    held = held_shrinkage(model, network.X[:30], 30, 10)
    assert held.shrinkage == clone(model).fit(network.X[:30]).shrinkage_
    own = CompositionalPartialCorrelation(shrinkage=0.25)
    assert held_shrinkage(own, network.X, 150, 10).shrinkage == 0.25


def test_progress_goes_to_standard_error(marked, capsys):
    stability_selection(FirstRow(), marked, alphas=[0.5], n_subsamples=2, random_state=0, verbose=1)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith("2/2\n")


def test_failure_in_a_subsample_is_placed(network):
    model = CompositionalPartialCorrelation(shrinkage=None)
    with pytest.raises(ValueError, match="degrees of freedom") as caught:
        stability_selection(model, network.X, n_subsamples=2, subsample_size=8, random_state=0)
    assert "subsample 0 of 8 rows" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_subsamples": 1}, "n_subsamples must be an integer at least 2"),
        ({"subsample_size": 150}, "subsample_size must be an integer between 3 and 149"),
        ({"subsample_size": "half"}, "subsample_size must be"),
        ({"threshold": 0.6}, "threshold must be a number above 0 and at most 0.5"),
        ({"threshold": 0}, "threshold must be"),
        ({"alphas": []}, "alphas must hold"),
        ({"alphas": [0.5, -0.1]}, "alphas must hold"),
    ],
)
def test_bad_arguments(network, options, words):
    with pytest.raises(ValueError, match=words):
        stability_selection(CompositionalGraphicalLasso(), network.X, **options)


def test_bad_input(network):
    with pytest.raises(ValueError, match="alphas must be None"):
        stability_selection(CompositionalPartialCorrelation(), network.X, alphas=[0.5])
    with pytest.raises(TooFewPartsError):
        stability_selection(CompositionalGraphicalLasso(), network.X[:, :2])
