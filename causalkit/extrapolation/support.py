r"""How many rows carry an answer about an action that was never tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ActionSupport", "effective_sample_size", "support_table"]

Array = NDArray[np.float64]

_MOST_ACTIONS = 2000
_MOST_ROWS = 5000
_REACHABLE, _THIN = 100.0, 30.0
_INSIDE = 0.5


def effective_sample_size(moved: Array, center: Array, centers: Array, covariance: Array) -> float:
    r"""Effective share of training rows under an action, both laws normal around the linear action.

    .. math:: \mathrm{ESS}/n = 1 \Big/ \int \frac{p_{do}(z)^2}{p_{train}(z)}\,dz
              = 1 \Big/ E_{do}\Big[\frac{p_{do}(q)}{p_{train}(q)}\Big]

    evaluated where the law under the action lives, which is stable: averages of weights over training rows are not.

    Parameters
    ----------
    moved : ndarray, shape (n, d)
        Points under the action, φ_i + W(a* - a_i).
    center : ndarray, shape (d,)
        Wa* + b.
    centers : ndarray, shape (m, d)
        Wa_j + b of training actions.
    covariance : ndarray, shape (d, d)
        Cov(R).

    Returns
    -------
    float
        In (0, 1].
    """
    root = np.linalg.cholesky(covariance)
    points = np.linalg.solve(root, moved.T).T
    middle, middles = np.linalg.solve(root, center), np.linalg.solve(root, centers.T).T
    do = -0.5 * ((points - middle) ** 2).sum(axis=1)
    train = np.empty(len(points))
    squares = (middles**2).sum(axis=1)
    for start in range(0, len(points), 2048):
        rows = points[start : start + 2048]
        distance = (rows**2).sum(axis=1)[:, None] - 2 * rows @ middles.T + squares
        train[start : start + len(rows)] = special.logsumexp(-0.5 * distance, axis=1) - np.log(len(middles))
    return float(min(np.exp(-(special.logsumexp(do - train) - np.log(len(points)))), 1.0))


class ActionSupport:
    """Where training rows lie in latent and in action space, as far as questions about support need it.

    Attributes
    ----------
    phi, residual : ndarray, shape (n, d)
        Representation and residual of the rows, at most 5000 of them.
    actions : ndarray, shape (n, k)
        Their actions.
    boundary : ndarray, shape (b, k)
        Outermost of all actions.
    centers : ndarray, shape (m, d)
        Wa + b of at most 2000 of these actions.
    action_matrix : ndarray, shape (d, k)
        W.
    intercept : ndarray, shape (d,)
        b.
    n_rows : int
        Rows of the fit, which ESS counts in.
    """

    def __init__(
        self,
        phi: Array,
        residual: Array,
        actions: Array,
        action_matrix: Array,
        intercept: Array,
        n_rows: int,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = np.arange(len(phi))
        if len(phi) > _MOST_ROWS:
            rows = np.sort(rng.choice(len(phi), _MOST_ROWS, replace=False))
        self.phi, self.residual, self.actions = phi[rows], residual[rows], actions[rows]
        self.boundary = outermost(actions)
        # Drawn, since the first rows of sorted data would be one end of the support.
        some = rng.permutation(len(rows))[:_MOST_ACTIONS]
        self.centers = self.actions[some] @ action_matrix.T + intercept
        self.action_matrix, self.intercept, self.n_rows = action_matrix, intercept, n_rows
        self.seed = seed

    def shares(self, wanted: Array) -> tuple[Array, Array, Array]:
        """ESS/n by normal laws and by a classifier, and share of points inside, for every action (m, k)."""
        covariance = np.atleast_2d(np.cov(self.residual.T))
        normal, classified, inside = (np.empty(len(wanted)) for _ in range(3))
        for number, a in enumerate(wanted):
            middle = self.action_matrix @ a + self.intercept
            moved = self.residual + middle
            normal[number] = effective_sample_size(moved, middle, self.centers, covariance)
            classified[number] = _classifier_share(moved, self.phi)
            inside[number] = _inside_share(moved, self.phi)
        return normal, classified, inside

    def observed(self, wanted: Array) -> NDArray[np.bool_]:
        """Whether actions lie inside the support of those that were tried."""
        return in_action_support(wanted, self.actions, self.boundary)

    def reach(self, wanted: Array) -> float:
        """Largest multiple of an action, seen from the mean action, whose ESS is 100 and half of its points inside."""
        middle = self.actions.mean(axis=0)
        low, high = 0.0, 1.0
        for _ in range(8):
            half = (low + high) / 2
            normal, classified, inside = self.shares((middle + half * (wanted - middle))[None])
            good = min(normal[0], classified[0]) * self.n_rows >= _REACHABLE and inside[0] >= _INSIDE
            low, high = (half, high) if good else (low, half)
        return low


def _inside_share(moved: Array, phi: Array) -> float:
    """Share of points within the 99 % Mahalanobis radius of the training rows; of neighbours above three axes."""
    if phi.shape[1] > 3:
        from sklearn.neighbors import NearestNeighbors

        near = NearestNeighbors(n_neighbors=11).fit(phi)
        radius = np.quantile(near.kneighbors(phi)[0][:, -1], 0.99)
        return float((near.kneighbors(moved, n_neighbors=10)[0][:, -1] <= radius).mean())
    mean, inverse = phi.mean(axis=0), np.linalg.inv(np.atleast_2d(np.cov(phi.T)))

    def distance(points: Array) -> Array:
        return np.asarray(np.einsum("ij,jk,ik->i", points - mean, inverse, points - mean))

    return float((distance(moved) <= np.quantile(distance(phi), 0.99)).mean())


def _classifier_share(moved: Array, phi: Array) -> float:
    """(Σw)²/(n Σw²) of odds w = p_do/p_train at the training rows, from a logistic regression on a polynomial basis."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer, StandardScaler

    both = np.vstack([phi, moved])
    label = np.repeat([0, 1], [len(phi), len(moved)])
    model = make_pipeline(
        StandardScaler(),
        SplineTransformer(6, degree=3, extrapolation="constant"),  # a straight tail gives one far row all the weight
        LogisticRegression(max_iter=500),
    )
    score = model.fit(both, label).decision_function(phi)
    odds = np.exp(np.clip(score - score.max(), -700, 0))
    return float(odds.sum() ** 2 / (odds**2).sum() / len(odds))


def outermost(actions: Array) -> Array:
    """Rows that bound the support: both ends, corners of the convex hull (k ≤ 3), or the largest Mahalanobis radius."""
    k = actions.shape[1]
    if k == 1:
        return np.vstack([actions.min(axis=0), actions.max(axis=0)])
    if k <= 3:
        from scipy.spatial import ConvexHull

        return np.asarray(actions[ConvexHull(actions).vertices])
    return np.asarray(actions[[int(np.argmax(_squared_radius(actions, actions)))]])


def _squared_radius(points: Array, actions: Array) -> Array:
    centred = points - actions.mean(axis=0)
    return np.asarray(np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(actions.T)), centred))


def in_action_support(wanted: Array, actions: Array, boundary: Array | None = None) -> NDArray[np.bool_]:
    """Whether actions lie in the convex hull of those observed (k ≤ 3), or within their largest Mahalanobis radius."""
    k = actions.shape[1]
    boundary = outermost(actions) if boundary is None else boundary
    if k > 3:
        return np.asarray(_squared_radius(wanted, actions) <= _squared_radius(boundary, actions).max())
    box = ((wanted >= boundary.min(axis=0)) & (wanted <= boundary.max(axis=0))).all(axis=1)
    if k == 1:
        return np.asarray(box)
    from scipy.spatial import Delaunay

    return np.asarray(box & (Delaunay(boundary).find_simplex(wanted) >= 0))


def support_table(support: ActionSupport, wanted: Array) -> pd.DataFrame:
    """How far the data reach, per action.

    Parameters
    ----------
    support : ActionSupport
        Training rows.
    wanted : ndarray, shape (m, k)
        Actions.

    Returns
    -------
    DataFrame
        ``ess`` and ``ess_share`` (the smaller of two estimates), ``ess_classifier``, ``inside_share``,
        ``in_action_support``, ``flag``: "observed", "reachable" (ESS of 100 and half of the points inside), "thin"
        (ESS of 30) or "unsupported".
    """
    import pandas as pd

    normal, classified, inside = support.shares(wanted)
    share = np.minimum(normal, classified)
    ess = share * support.n_rows
    observed = support.observed(wanted)
    flag = np.where(
        observed,
        "observed",
        np.where((ess >= _REACHABLE) & (inside >= _INSIDE), "reachable", np.where(ess >= _THIN, "thin", "unsupported")),
    )
    return pd.DataFrame(
        {
            "ess": ess,
            "ess_share": share,
            "ess_classifier": classified * support.n_rows,
            "inside_share": inside,
            "in_action_support": observed,
            "flag": flag,
        }
    )
