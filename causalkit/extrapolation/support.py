r"""How many rows carry an answer about an action that was never tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ActionSupport", "effective_sample_size", "poor_support", "support_table"]

Array = NDArray[np.float64]

_MOST_ACTIONS = 2000
_MOST_ROWS = 5000
_REACHABLE, _THIN = 100.0, 30.0
_INSIDE = 0.5
_BLOCK_ROWS, _BLOCK_ACTIONS = 2048, 256
_LARGEST_EXPONENT = 300.0
_MOST_KNOWN = 10_000


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
    for start in range(0, len(points), _BLOCK_ROWS):
        rows = points[start : start + _BLOCK_ROWS]
        distance = (rows**2).sum(axis=1)[:, None] - 2 * rows @ middles.T + squares
        train[start : start + len(rows)] = special.logsumexp(-0.5 * distance, axis=1) - np.log(len(middles))
    return float(min(np.exp(-(special.logsumexp(do - train) - np.log(len(points)))), 1.0))


class NormalShares:
    r"""Values of :func:`effective_sample_size` for many actions, with one table of exponentials for all of them.

    In coordinates in which Cov(R) = I, with q = r + μ and training centres :math:`m_j`,

    .. math:: \log\frac{p_{do}(q)}{p_{train}(q)}
              = r'\mu - \log\Big(J^{-1}\sum_j e^{r'm_j}\, e^{-|m_j - \mu|^2/2}\Big),

    where the first factor of the sum does not know the action and the second not the row: sums over j for all actions
    are one product of matrices (test_shares_of_many_actions_are_those_of_each_alone).

    Parameters
    ----------
    residual : ndarray, shape (n, d)
        R of the rows.
    centers : ndarray, shape (J, d)
        Wa_j + b of training actions.
    covariance : ndarray, shape (d, d)
        Cov(R).
    """

    def __init__(self, residual: Array, centers: Array, covariance: Array) -> None:
        self.residual, self.centers, self.covariance = residual, centers, covariance
        self.root = np.linalg.cholesky(covariance)
        self.points = np.linalg.solve(self.root, residual.T).T
        middles = np.linalg.solve(self.root, centers.T).T
        self.origin = middles.mean(axis=0)
        self.middles = middles - self.origin
        lengths = [float(np.sqrt((part**2).sum(axis=1).max())) for part in (self.points, self.middles)]
        # Beyond it the factors could overflow, or lose the largest term of a row.
        self.factored = lengths[0] * lengths[1] <= _LARGEST_EXPONENT
        self._tables: dict[int, Array] = {}

    def __call__(self, middles: Array) -> Array:
        """ESS/n of actions with centres Wa* + b, shape (m, d) → (m,)."""
        if not self.factored:
            each = [effective_sample_size(self.residual + a, a, self.centers, self.covariance) for a in middles]
            return np.array(each)
        white = np.linalg.solve(self.root, middles.T).T - self.origin
        parts = [self._some(white[start : start + _BLOCK_ACTIONS]) for start in range(0, len(white), _BLOCK_ACTIONS)]
        return np.concatenate(parts)

    def _some(self, white: Array) -> Array:
        distance = 0.5 * ((self.middles[:, None] - white) ** 2).sum(axis=2)
        nearest = distance.min(axis=0)
        weights = np.exp(nearest - distance)
        ratio = np.empty((len(self.points), len(white)))
        for start in range(0, len(self.points), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            ratio[rows] = self.points[rows] @ white.T + nearest - np.log(self._table(start) @ weights)
        ratio += np.log(len(self.middles))
        mean = special.logsumexp(ratio, axis=0) - np.log(len(self.points))
        return np.asarray(np.minimum(np.exp(-mean), 1.0))

    def _table(self, start: int) -> Array:
        """exp(r'm) for a block of rows, at most 80 MB in all."""
        if start not in self._tables:
            self._tables[start] = np.exp(self.points[start : start + _BLOCK_ROWS] @ self.middles.T)
        return self._tables[start]


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
        Wa + b of at most 2000 of the actions.
    covariance : ndarray, shape (d, d)
        Cov(R) over all rows.
    action_matrix : ndarray, shape (d, k)
        W.
    intercept : ndarray, shape (d,)
        b.
    n_rows : int
        Rows of the fit, which ESS counts in.
    """

    _not_saved = ("_known", "_inside")

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
        self.covariance = np.atleast_2d(np.cov(residual.T))
        self.centers = _spread(actions, rng) @ action_matrix.T + intercept
        self.action_matrix, self.intercept, self.n_rows = action_matrix, intercept, n_rows
        self.seed = seed

    def shares(self, wanted: Array) -> tuple[Array, Array, Array]:
        """ESS/n by normal laws and by a classifier, and share of points inside, for every action (m, k)."""
        return self._shares(wanted, None)

    def _shares(self, wanted: Array, laws: NormalShares | None) -> tuple[Array, Array, Array]:
        keys = [np.ascontiguousarray(a, dtype=np.float64).tobytes() for a in wanted]
        new = {key: number for number, key in enumerate(keys) if key not in self._known}
        found = {key: self._known[key] for key in keys if key in self._known}
        if new:
            middles = wanted[list(new.values())] @ self.action_matrix.T + self.intercept
            normal = (laws or self._laws())(middles)
            for key, middle, share in zip(new, middles, normal, strict=True):
                moved = self.residual + middle
                found[key] = (float(share), _classifier_share(moved, self.phi), self._inside(moved))
            if len(self._known) + len(new) > _MOST_KNOWN:
                self._known.clear()
            self._known.update({key: found[key] for key in new})
        normal, classified, inside = np.array([found[key] for key in keys]).reshape(len(keys), 3).T
        return normal, classified, inside

    def _laws(self) -> NormalShares:
        return NormalShares(self.residual, self.centers, self.covariance)

    @cached_property
    def _known(self) -> dict[bytes, tuple[float, float, float]]:
        """What was found for actions that were asked for before: predictions, intervals and figures ask again."""
        return {}

    @cached_property
    def _inside(self) -> Callable[[Array], float]:
        return InsideShare(self.phi)

    def observed(self, wanted: Array) -> NDArray[np.bool_]:
        """Whether actions lie inside the support of those that were tried."""
        return in_action_support(wanted, self.actions, self.boundary)

    def reach(self, wanted: Array) -> float:
        """Largest multiple of an action, seen from the mean action, whose ESS is 100 and half of its points inside."""
        middle = self.actions.mean(axis=0)
        low, high = 0.0, 1.0
        laws = self._laws()
        for _ in range(8):
            half = (low + high) / 2
            normal, classified, inside = self._shares((middle + half * (wanted - middle))[None], laws)
            good = min(normal[0], classified[0]) * self.n_rows >= _REACHABLE and inside[0] >= _INSIDE
            low, high = (half, high) if good else (low, half)
        return low


class InsideShare:
    """Share of points within the 99 % Mahalanobis radius of training rows (n, d); of neighbours above three axes."""

    def __init__(self, phi: Array) -> None:
        self.near = None
        if phi.shape[1] > 3:
            from sklearn.neighbors import NearestNeighbors

            self.near = NearestNeighbors(n_neighbors=11).fit(phi)
            self.radius = np.quantile(self.near.kneighbors(phi)[0][:, -1], 0.99)
            return
        self.mean, self.inverse = phi.mean(axis=0), np.linalg.inv(np.atleast_2d(np.cov(phi.T)))
        self.radius = np.quantile(self._distance(phi), 0.99)

    def __call__(self, moved: Array) -> float:
        if self.near is not None:
            return float((self.near.kneighbors(moved, n_neighbors=10)[0][:, -1] <= self.radius).mean())
        return float((self._distance(moved) <= self.radius).mean())

    def _distance(self, points: Array) -> Array:
        return np.asarray(np.einsum("ij,jk,ik->i", points - self.mean, self.inverse, points - self.mean))


def _spread(actions: Array, rng: np.random.Generator) -> Array:
    """At most 2000 actions with the law of all: evenly by rank where there is one column, else drawn.

    The reach beyond the support hangs on the density at its edge, which 2000 drawn rows know to a tenth only.
    """
    count = min(len(actions), _MOST_ACTIONS)
    if actions.shape[1] == 1:
        ranks = (np.arange(count) + 0.5) * len(actions) / count
        return np.asarray(np.sort(actions, axis=0)[ranks.astype(np.intp)])
    # Drawn, since the first rows of sorted data would be one end of the support.
    return np.asarray(actions[rng.permutation(len(actions))[:count]])


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


def poor_support(support: ActionSupport, wanted: Array, beyond: NDArray[np.intp], table: pd.DataFrame) -> str | None:
    """What is said of actions that few rows carry, if there are any.

    Parameters
    ----------
    support : ActionSupport
        Training rows.
    wanted : ndarray, shape (m, k)
        Actions that were asked for.
    beyond : ndarray of int
        Which of them are outside the support.
    table : DataFrame
        :func:`support_table` of these.
    """
    poor = np.flatnonzero(table["flag"].isin(["thin", "unsupported"]).to_numpy())
    if len(poor) == 0:
        return None
    worst = poor[int(np.argmin(table["ess"].to_numpy()[poor]))]
    reach = support.reach(wanted[beyond[worst]])
    return (
        f"{len(poor)} of {len(wanted)} actions are carried by few rows (rows {beyond[poor][:5].tolist()}; worst: "
        f"ESS {table['ess'].iloc[worst]:.3g}, inside_share {table['inside_share'].iloc[worst]:.2g}, flag "
        f"{table['flag'].iloc[worst]!r}). Of the worst one about {reach:.2g} times the action can be reached."
    )
