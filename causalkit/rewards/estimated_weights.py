"""Influence values that know that balancing weights were estimated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.orthogonal import row_chunks

__all__ = ["influence_with_estimated_weights"]

Array = NDArray[np.float64]

# The matrix of their products has 32 MB.
MAX_SCORES = 2000


def influence_with_estimated_weights(
    influence: NDArray[np.floating],
    codes: NDArray[np.intp],
    probabilities: Array,
    X: NDArray[np.floating],
    weight: Array | None = None,
) -> NDArray[np.floating]:
    r"""Residuals of influence values on the scores of the classifier that made the weights.

    With weights from a multinomial logistic regression of C on (1, X), an estimate that takes them as known has the
    influence values ψ - Πs, where s holds the scores :math:`(1\{C = c\} - P(c \mid X))(1, X)` of the classifier and
    :math:`1\{C = c\} - P(c)` of the level shares, and Π is the projection on them. Estimated weights never make the
    estimate less precise than known ones, so the variance of ψ itself is too large: on the 2×2 table by a factor of
    three.

    Assumption: the logistic model is right, and hardly penalised.

    Parameters
    ----------
    influence : ndarray, shape (n, r)
        Influence values with the weights taken as known.
    codes : ndarray of int, shape (n,)
        Level of each row, from 0.
    probabilities : ndarray, shape (n, G)
        Probabilities of the levels.
    X : ndarray, shape (n, p)
        What the classifier saw.
    weight : ndarray, shape (n,), optional
        Sample weights of mean 1, if the classifier was fitted with them.

    Returns
    -------
    ndarray, shape (n, r)
        In the type of ``influence``.

    Raises
    ------
    ValueError
        More scores, (G - 1)(p + 2), than 2000 or than a fifth of the rows.

    References
    ----------
    Robins, Rotnitzky, Zhao 1994, doi 10.1080/01621459.1994.10476818, theorem 6.1 and its discussion.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.estimated_weights import influence_with_estimated_weights
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 1))
    >>> c = (rng.uniform(size=200) < 0.5).astype(int)
    >>> score = (c - 0.5)[:, None] * x
    >>> left = influence_with_estimated_weights(score, c, np.full((200, 2), 0.5), x)
    >>> bool(np.abs(left).max() < 1e-9)
    True
    """
    n, p = X.shape
    n_scores = (probabilities.shape[1] - 1) * (p + 2)
    if n_scores > min(MAX_SCORES, n // 5):
        raise ValueError(
            f"the classifier has {n_scores} scores for {n} rows: expected at most {min(MAX_SCORES, n // 5)} to project "
            "on. Take the weights as known, which is conservative, or use fewer features or levels."
        )
    ones = np.ones(n) if weight is None else weight
    share = np.bincount(codes, weights=ones, minlength=probabilities.shape[1]) / ones.sum()
    mean = np.zeros(p)
    for rows in row_chunks(n, p):
        mean += X[rows].sum(axis=0, dtype=np.float64)
    mean /= n
    gram, cross = np.zeros((n_scores, n_scores)), np.zeros((n_scores, influence.shape[1]))
    for rows, scores in _scores(codes, probabilities, X, share, mean, ones):
        gram += scores.T @ scores
        cross += scores.T @ influence[rows].astype(np.float64)
    size = np.sqrt(np.diag(gram))
    unit = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    slopes = unit[:, None] * (
        np.linalg.pinv(gram * np.outer(unit, unit), rcond=1e-10, hermitian=True) @ (unit[:, None] * cross)
    )
    out = np.empty_like(influence)
    for rows, scores in _scores(codes, probabilities, X, share, mean, ones):
        out[rows] = influence[rows] - scores @ slopes
    return out


def _scores(
    codes: NDArray[np.intp], probabilities: Array, X: NDArray[np.floating], share: Array, mean: Array, weight: Array
) -> Iterator[tuple[slice, Array]]:
    """Scores of the classifier and of the shares, a few rows at a time; one level follows from the others."""
    n_levels = probabilities.shape[1]
    for rows in row_chunks(len(codes), (n_levels - 1) * (X.shape[1] + 2)):
        own = (codes[rows, None] == np.arange(1, n_levels)).astype(np.float64)
        columns = np.column_stack([np.ones(len(own)), X[rows] - mean])
        products = (own - probabilities[rows, 1:])[:, :, None] * columns[:, None, :]
        scores = np.hstack([products.reshape(len(own), -1), own - share[1:]])
        yield rows, scores * weight[rows, None]
