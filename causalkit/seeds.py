"""Seeds: one number for a whole fit, and from it one for each of its tasks, whatever order they run in."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["generator", "root_seed", "task_seed"]


def root_seed(random_state: Any) -> int:
    """One seed from what a user passes; a generator moves on by one draw.

    Parameters
    ----------
    random_state : int, RandomState, Generator or None
        As in scikit-learn, and numpy's generators. None draws from numpy's global state.
    """
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def generator(random_state: Any) -> np.random.Generator:
    """A generator from what a user passes; one that is given is used itself."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(root_seed(random_state))


def task_seed(root: int, repeat: int, fold: int, name: str) -> int:
    """Seed of one task: a function of its key, never of the order in which tasks run."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u4")
    sequence = np.random.SeedSequence(root, spawn_key=(repeat, fold, *map(int, words)))
    return int(sequence.generate_state(1)[0] >> 1)  # 31 bits: what every random_state accepts
