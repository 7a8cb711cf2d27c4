"""Augmenters made of augmenters: one after the other, or one of several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Augmenter, FunctionAugmenter, Orbit
from causalkit.augmentation.augmenters.checks import as_parameters, as_rows, frozen_array
from causalkit.augmentation.augmenters.image import ChannelPermutation, ImageFlip, ImageRotation
from causalkit.augmentation.augmenters.permutation import Permutation
from causalkit.augmentation.augmenters.vector import SignFlip
from causalkit.exceptions import AugmentationError

__all__ = ["Compose", "OneOf"]

Array = NDArray[np.float64]


class Compose(Augmenter):
    r"""Augmenters applied one after the other, drawn independently.

    .. math:: GX = G_m \cdots G_1 X, \qquad E[DD'] = \textstyle\sum_j E[D_j D_j'] \text{ if all are additive}

    Assumes what each of them assumes.

    Parameters
    ----------
    *augmenters : Augmenter
        In the order of application. A plain function has no parameters of its own and is refused; compose
        inside the function instead.

    Attributes
    ----------
    is_group : bool
        True where this is known: all are groups that can change places pairwise (flips and rotations of one
        image shape, channel permutations with these, sign flips, disjoint columns, equal augmenters).

    Raises
    ------
    AugmentationError
        No augmenter, or something that is not one.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> from causalkit.augmentation.augmenters import AdditiveNoise, Compose
    >>> Compose(AdditiveNoise(1.0), AdditiveNoise(2.0, columns=[0])).covariance(2)
    array([[5., 0.],
           [0., 1.]])
    """

    augmenters: tuple[Augmenter, ...]

    def __init__(self, *augmenters: Augmenter) -> None:
        self._keep(augmenters=_check_members(type(self).__name__, augmenters))

    @property
    def is_sequential(self) -> bool:  # type: ignore[override]
        """Whether every member is."""
        return all(member.is_sequential for member in self.augmenters)

    @property
    def is_group(self) -> bool:
        """Whether the members are groups that are known to change places pairwise."""
        members = self.augmenters
        pairs = ((a, b) for i, a in enumerate(members) for b in members[:i])
        return all(member.is_group for member in members) and all(_change_places(a, b) for a, b in pairs)

    @property
    def preserves_sparsity(self) -> bool:
        """Whether every member does."""
        return all(member.preserves_sparsity for member in self.augmenters)

    def parameter_names(self, n_features: int) -> list[str]:
        """Names of the members' parameters, with the member's number in front."""
        return _member_names(self.augmenters, n_features)

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Parameters of the members side by side, shape (n, k_1 + ... + k_m)."""
        return np.concatenate(_member_samples(self.augmenters, n_rows, n_features, rng), axis=1)

    def apply(self, X: Any, G: Any) -> Any:
        """X under every member in turn."""
        rows = as_rows(X)
        parts = _split(self.augmenters, as_parameters(self, G, rows), rows.shape[1])
        for member, part in zip(self.augmenters, parts, strict=True):
            rows = member.apply(rows, part)
        return rows

    def covariance(self, n_features: int) -> Array | None:
        """Sum of the members' covariances; None unless all are additive."""
        known = [member.covariance(n_features) for member in self.augmenters]
        total = np.zeros((n_features, n_features))
        for part in known:
            if part is None:
                return None
            total = total + part
        return total

    def orbit_size(self, n_features: int) -> int | None:
        """Product of the members' sizes."""
        sizes = [member.orbit_size(n_features) for member in self.augmenters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def orbit(self, n_features: int) -> Orbit | None:
        """All combinations of the members' elements, at most 1024."""
        size = self.orbit_size(n_features)
        if size is None or size > MAX_ORBIT:
            return None
        parameters, probabilities = np.zeros((1, 0)), np.ones(1)
        for member in self.augmenters:
            orbit = member.orbit(n_features)
            if orbit is None:
                return None
            m, extra = len(probabilities), len(orbit[1])
            parameters = np.hstack([np.repeat(parameters, extra, axis=0), np.tile(orbit[0], (m, 1))])
            probabilities = np.repeat(probabilities, extra) * np.tile(orbit[1], m)
        return parameters, probabilities


class OneOf(Augmenter):
    r"""One of several augmenters, chosen at random for each row.

    .. math:: GX = G_J X, \quad P(J = j) = \omega_j, \qquad E[DD'] = \textstyle\sum_j \omega_j E[D_j D_j']
              \text{ if all are additive}

    Assumes what each of them assumes.

    Parameters
    ----------
    *augmenters : Augmenter
        The choices; a plain function is refused.
    weights : array-like, shape (m,), optional
        Positive weights, scaled to the probabilities ω; equal by default.

    Raises
    ------
    AugmentationError
        No augmenter, something that is not one, weights of another length or not positive.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> from causalkit.augmentation.augmenters import OneOf, SignFlip
    >>> OneOf(SignFlip([0]), SignFlip([1])).parameter_names(2)
    ['choice0', 'choice1', '0.flip0', '1.flip1']
    """

    augmenters: tuple[Augmenter, ...]
    weights: Array | None

    def __init__(self, *augmenters: Augmenter, weights: ArrayLike | None = None) -> None:
        members = _check_members(type(self).__name__, augmenters)
        checked = None if weights is None else frozen_array(weights, "weights", 1)
        if checked is not None and (len(checked) != len(members) or checked.min() <= 0):
            raise AugmentationError(
                f"weights must hold one positive number for each of the {len(members)} augmenters; got "
                f"{checked.tolist()}."
            )
        self._keep(augmenters=members, weights=checked)

    @property
    def is_sequential(self) -> bool:  # type: ignore[override]
        """Whether every member is."""
        return all(member.is_sequential for member in self.augmenters)

    @property
    def is_group(self) -> bool:
        """Only with a single member: a mixture of groups is not uniform on a group."""
        return len(self.augmenters) == 1 and self.augmenters[0].is_group

    @property
    def preserves_sparsity(self) -> bool:
        """Whether every member does."""
        return all(member.preserves_sparsity for member in self.augmenters)

    @property
    def probabilities(self) -> Array:
        """Probability of each choice, shape (m,)."""
        weights = np.ones(len(self.augmenters)) if self.weights is None else self.weights
        return np.asarray(weights / weights.sum())

    def parameter_names(self, n_features: int) -> list[str]:
        """``choice0``, ... and then the names of the members' parameters."""
        choices = [f"choice{j}" for j in range(len(self.augmenters))]
        return choices + _member_names(self.augmenters, n_features)

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """One-hot choice and the members' parameters, 0 where not chosen, shape (n, m + k_1 + ... + k_m)."""
        parts = _member_samples(self.augmenters, n_rows, n_features, rng)
        edges = np.cumsum(self.probabilities)[:-1]  # without the last, which rounding may leave below 1
        choice = np.searchsorted(edges, rng.random(n_rows), side="right")
        chosen = np.eye(len(self.augmenters))[choice]
        return np.concatenate([chosen, *(np.where(chosen[:, [j]] == 1, G, 0.0) for j, G in enumerate(parts))], axis=1)

    def apply(self, X: Any, G: Any) -> Any:
        """Each row of X under the member that its one-hot choice names."""
        rows = as_rows(X)
        values = as_parameters(self, G, rows)
        m = len(self.augmenters)
        choice = values[:, :m].argmax(axis=1)
        parts = _split(self.augmenters, values[:, m:], rows.shape[1])
        members = [np.flatnonzero(choice == j) for j in range(m)]
        moved = [a.apply(rows[i], part[i]) for a, i, part in zip(self.augmenters, members, parts, strict=True)]
        back = np.argsort(np.concatenate(members))
        if sparse.issparse(rows):
            return sparse.vstack(moved, format="csr")[back]
        return np.concatenate(moved)[back]

    def covariance(self, n_features: int) -> Array | None:
        """Mixture of the members' covariances; None unless all are additive."""
        total = np.zeros((n_features, n_features))
        for member, probability in zip(self.augmenters, self.probabilities, strict=True):
            part = member.covariance(n_features)
            if part is None:
                return None
            total = total + probability * part
        return total

    def orbit_size(self, n_features: int) -> int | None:
        """Sum of the members' sizes."""
        sizes = [member.orbit_size(n_features) for member in self.augmenters]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def orbit(self, n_features: int) -> Orbit | None:
        """The members' elements one after the other, with the probability of the choice, at most 1024."""
        size = self.orbit_size(n_features)
        if size is None or size > MAX_ORBIT:
            return None
        m = len(self.augmenters)
        widths = [len(member.parameter_names(n_features)) for member in self.augmenters]
        starts = m + np.concatenate([[0], np.cumsum(widths)])
        parameters, probabilities = np.zeros((size, int(starts[-1]))), np.zeros(size)
        row = 0
        for j, (member, probability) in enumerate(zip(self.augmenters, self.probabilities, strict=True)):
            orbit = member.orbit(n_features)
            if orbit is None:
                return None
            block = slice(row, row + len(orbit[1]))
            parameters[block, j] = 1.0
            parameters[block, starts[j] : starts[j + 1]] = orbit[0]
            probabilities[block] = probability * orbit[1]
            row = block.stop
        return parameters, probabilities


# ---------------------------------------------------------------------- shared pieces


def _check_members(name: str, augmenters: tuple[Any, ...]) -> tuple[Augmenter, ...]:
    if not augmenters:
        raise AugmentationError(f"{name} needs at least one augmenter; got none.")
    for item in augmenters:
        if not isinstance(item, Augmenter) or isinstance(item, FunctionAugmenter):
            raise AugmentationError(
                f"{name} combines augmenters with parameters of their own; got {item!r}. Write one function "
                "(X, rng) that does all the steps, or a subclass of Augmenter."
            )
    return augmenters


def _member_names(members: tuple[Augmenter, ...], n_features: int) -> list[str]:
    return [f"{i}.{name}" for i, member in enumerate(members) for name in member.parameter_names(n_features)]


def _member_samples(
    members: tuple[Augmenter, ...], n_rows: int, n_features: int, rng: np.random.Generator
) -> list[Array]:
    # A generator per member: with one after the other a member's draws would depend on n_rows.
    seeds = rng.integers(2**63, size=(len(members), 2), dtype=np.uint64).tolist()
    return [m.sample(n_rows, n_features, np.random.default_rng(seed)) for m, seed in zip(members, seeds, strict=True)]


def _split(members: tuple[Augmenter, ...], G: Array, n_features: int) -> list[Array]:
    widths = [len(member.parameter_names(n_features)) for member in members]
    return np.split(G, np.cumsum(widths)[:-1], axis=1)


def _change_places(a: Augmenter, b: Augmenter) -> bool:
    """Whether HK = KH is known for two groups: then the product is a group, and its law is uniform."""
    if a == b:
        return True
    spatial = (ImageFlip, ImageRotation)
    image = (*spatial, ChannelPermutation)
    if isinstance(a, image) and isinstance(b, image):
        # Flips and quarter turns generate the dihedral group; channels change places pixel by pixel.
        return a.image_shape == b.image_shape
    if isinstance(a, SignFlip) and isinstance(b, SignFlip):
        return True
    columns_a, columns_b = _columns_of(a), _columns_of(b)
    return columns_a is not None and columns_b is not None and not columns_a & columns_b


def _columns_of(augmenter: Augmenter) -> set[int] | None:
    if isinstance(augmenter, SignFlip):
        return None if augmenter.columns is None else set(augmenter.columns)
    if isinstance(augmenter, Permutation):
        return {column for members in augmenter.sets for member in members for column in member}
    return None
