"""What tells a fit how the features vary: what each combination of arguments resolves to, or why it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from causalkit.augmentation.arguments import Variation, resolve_variation
from causalkit.exceptions import AugmentationError, MethodNotApplicableError

X = np.arange(10.0).reshape(5, 2)
G = np.arange(5.0)
FRAME = pd.DataFrame(X, columns=["a", "b"], index=list("vwxyz"))


def resolve(features: Any = X, **given: Any) -> Variation:
    names = ("augmentation", "instruments", "augmented", "augmentation_parameters")
    return resolve_variation(features, **{"penalty": "auto", **dict.fromkeys(names), **given})


def shift(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return X + rng.standard_normal(X.shape)


@pytest.mark.parametrize(
    ("given", "kind", "penalty"),
    [
        ({}, "none", "none"),
        ({"instruments": G}, "instruments", "projected"),
        ({"instruments": X, "penalty": "projected"}, "instruments", "projected"),
        ({"augmentation": shift}, "augmentation", "pointwise"),
        ({"augmentation": shift, "penalty": "analytic"}, "augmentation", "analytic"),
        ({"augmented": X}, "augmentation", "pointwise"),
        ({"augmented": X, "penalty": "constrained"}, "augmentation", "constrained"),
        ({"augmented": X, "augmentation_parameters": G, "penalty": "paired"}, "augmentation", "paired"),
    ],
)
def test_resolved(given: dict[str, Any], kind: str, penalty: str) -> None:
    found = resolve(**given)
    assert (found.kind, found.penalty) == (kind, penalty)


def test_shapes_of_what_was_given() -> None:
    once = resolve(augmented=X + 1, augmentation_parameters=G)
    assert once.augmented.shape == (5, 1, 2)
    np.testing.assert_array_equal(once.augmented[:, 0], X + 1)
    assert once.parameters is not None
    np.testing.assert_array_equal(once.parameters, G[:, None, None])
    draws = resolve(augmented=np.zeros((5, 3, 2)), augmentation_parameters=np.zeros((5, 3, 4)))
    assert draws.augmented.shape == (5, 3, 2)
    assert draws.parameters is not None
    assert draws.parameters.shape == (5, 3, 4)
    rows = resolve(augmented=sparse.csr_array(X))
    assert sparse.issparse(rows.augmented)
    Z = resolve(FRAME, instruments=pd.Series(G, index=FRAME.index, name="rain"))
    assert Z.instruments is not None
    assert Z.instruments.shape == (5, 1)
    assert Z.instrument_names == ("rain",)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown penalty": ({"penalty": "l2"}, ValueError, "penalty must be one of 'auto', 'projected'"),
    "nothing to penalise": ({"penalty": "paired"}, AugmentationError, "augmentation=.*augmented=.*instruments="),
    "augmentation and augmented": ({"augmentation": shift, "augmented": X}, AugmentationError, "drop augmented="),
    "instruments and augmented": ({"instruments": G, "augmented": X}, AugmentationError, "invariance_test"),
    "instruments and augmentation": ({"instruments": G, "augmentation": shift}, AugmentationError, "invariance_test"),
    "not callable": ({"augmentation": "noise"}, AugmentationError, "augmentation must be .* got 'noise'"),
    "parameters alone": ({"augmentation_parameters": G}, AugmentationError, "augmented is missing"),
    "parameters of an object": (
        {"augmentation": shift, "augmentation_parameters": G},
        AugmentationError,
        "draws its own parameters",
    ),
    "pairs of instruments": ({"instruments": G, "penalty": "pointwise"}, MethodNotApplicableError, "projected"),
    "analytic, given rows": ({"augmented": X, "penalty": "analytic"}, MethodNotApplicableError, "known covariance"),
    "penalty of another estimator": (
        {"augmented": X, "penalty": "constrained", "allowed": ("pointwise", "paired")},
        MethodNotApplicableError,
        "'pointwise', 'paired': use penalty=.pointwise",
    ),
    "columns": ({"augmented": X[:, :1]}, AugmentationError, r"\(5, 2\) or \(5, R, 2\), got \(5, 1\)"),
    "sparse columns": ({"augmented": sparse.csr_array(X[:, :1])}, AugmentationError, r"got \(5, 1\)"),
    "no draws": ({"augmented": np.zeros((5, 0, 2))}, AugmentationError, r"got \(5, 0, 2\)"),
    "text": ({"augmented": [["a", "b"]] * 5}, AugmentationError, "array of numbers"),
    "infinite": ({"augmented": np.where(X == 6, np.inf, X)}, AugmentationError, "1 of 5 rows .first: row 3"),
    "infinite, sparse": (
        {"augmented": sparse.csr_array(np.where(X == 6, np.inf, X))},
        AugmentationError,
        "1 of 5 rows .first: row 3",
    ),
    "without parameters": ({"augmented": X, "penalty": "paired"}, AugmentationError, "augmentation_parameters="),
    "parameters of draws": (
        {"augmented": np.zeros((5, 3, 2)), "augmentation_parameters": np.zeros((5, 3))},
        AugmentationError,
        r"expected shape \(5, 3, k\), got \(5, 3\)",
    ),
    "nan in parameters": (
        {"augmented": X, "augmentation_parameters": [0, 1, np.nan, 3, 4]},
        AugmentationError,
        "augmentation_parameters contains NaN .* row 2",
    ),
    "rows of instruments": ({"instruments": G[:3]}, ValueError, "instruments has 3 rows, but X has 5"),
    "order of columns": ({"features": FRAME, "augmented": FRAME[["b", "a"]]}, AugmentationError, "same order"),
    "order of rows": ({"features": FRAME, "augmented": FRAME.iloc[::-1]}, ValueError, "different order"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    given, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        resolve(**given)
