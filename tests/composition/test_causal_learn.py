"""The conditional-independence test inside causal-learn's PC algorithm (optional: needs causal-learn)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from causalkit.composition import CompositionalPartialCorrelation

cit = pytest.importorskip("causallearn.utils.cit", reason="causal-learn is not installed; it is no dependency of ours")


def _chain(n: int) -> np.ndarray:
    """Six amounts, of which the first three form the chain 0 - 1 - 2 on the log scale."""
    logs = np.random.default_rng(0).normal(size=(n, 6))
    logs[:, 1] += 1.2 * logs[:, 0]
    logs[:, 2] += 1.2 * logs[:, 1]
    return np.exp(logs)


class CompositionalTest(cit.CIT_Base):
    """p-values of ``ci_test``; nothing can be tested given no part, so such pairs count as dependent."""

    def __init__(self, data: np.ndarray, **kwargs: Any) -> None:
        super().__init__(data)
        self.method = "compositional"
        self.network = CompositionalPartialCorrelation(shrinkage=None).fit(data)

    def __call__(self, X: int, Y: int, condition_set: Any = None) -> float:
        given = [int(k) for k in (condition_set if condition_set is not None else [])]
        return self.network.ci_test(int(X), int(Y), given).pvalue if given else 0.0


def test_pc_finds_the_chain_and_not_its_ends() -> None:
    from causallearn.search.ConstraintBased.PC import pc

    cit.register_ci_test("compositional", CompositionalTest)
    found = pc(_chain(2000), alpha=1e-4, indep_test="compositional", show_progress=False)
    adjacent = found.G.graph != 0
    assert adjacent[0, 1] and adjacent[1, 2]
    assert not adjacent[0, 2]
