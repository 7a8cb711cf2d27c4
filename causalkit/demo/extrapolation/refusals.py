"""Section 4: actions that every representation satisfies the constraint for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Section, Table
from causalkit.demo.extrapolation.study import Study
from causalkit.exceptions import ExtrapolationWarning, IdentificationError
from causalkit.extrapolation import LinearInvarianceEncoder

__all__ = ["section"]

_ROWS = 600


def section(study: Study) -> Section:
    """Binary, one-hot and lattice actions, and what is said about them."""
    rng = np.random.default_rng(study.random_state)
    features = rng.normal(size=(_ROWS, 4))
    arms = np.eye(3)[rng.integers(3, size=_ROWS)][:, 1:]
    levels = rng.integers(4, size=(_ROWS, 1)).astype(float)
    designs = {
        "treated or not": rng.integers(2, size=(_ROWS, 1)).astype(float),
        "one of three arms": arms,
        "four doses": levels,
    }
    moved = {name: features + 2 * actions[:, :1] for name, actions in designs.items()}
    records = [{"actions": name, **_answer(moved[name], actions)} for name, actions in designs.items()]
    table = pd.DataFrame(records)
    refused = int((table["answer"] == "refused").sum())
    return Section(
        title="Actions that say nothing",
        text=(
            "With as many distinct actions as a line through them needs, every representation has a mean that is "
            "linear in the action, and the constraint selects nothing. Such data are refused before any work; arms are "
            "compared by their means. A few doses are let through, with a warning."
        ),
        tables=(Table("What is said", table),),
        readings=(f"{refused} of {len(table)} designs are refused, and the others carry a limit in words.",),
    )


def _answer(features: Any, actions: Any) -> dict[str, str]:
    encoder = LinearInvarianceEncoder(n_components=1, n_basis=10, ridge=1e-2, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            encoder.fit(features, actions=actions)
        except IdentificationError as error:
            return {"answer": "refused", "words": _first(str(error))}
    limits = [str(one.message) for one in caught if issubclass(one.category, ExtrapolationWarning)]
    return {"answer": "fitted with a warning" if limits else "fitted", "words": " ".join(map(_first, limits))}


def _first(message: str) -> str:
    """The part that names the finding; what follows the colon says why."""
    return message.split(":")[0]
