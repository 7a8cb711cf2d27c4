"""The result of a prediction-powered estimate, and how a solution becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.power_tuning import Solution
from causalkit.debiasing.two_sample import Codes, Side
from causalkit.debiasing.two_sample_bootstrap import Solver, bootstrap_estimates
from causalkit.inference.covariance import influence_covariance
from causalkit.inference.result import InferenceResult
from causalkit.seeds import generator
from causalkit.validation import Groups

__all__ = ["PredictionPoweredResult", "result_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PredictionPoweredResult(InferenceResult):
    """Result of a prediction-powered estimate.

    Attributes
    ----------
    method : str
        "ppi++", "ppi", "predict_then_debias" or "classical".
    power_tuning : float or ndarray, shape (arms,), optional
        λ; one per treatment level for :func:`prediction_powered_ate`. None for predict-then-debias.
    tuning_matrix : ndarray, shape (q, q) or (arms, arms), optional
        Ω of predict-then-debias, else None.
    influence_values : ndarray, shape (n + N, q), or None
        Labelled rows first, then unlabelled ones. None after a bootstrap, whose covariance they would not match.

    See Also
    --------
    causalkit.inference.InferenceResult : Intervals, tests, contrasts and arithmetic.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.debiasing.prediction_powered import prediction_powered_mean
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=2000)
    >>> predictions = truth + 0.5 * rng.normal(size=2000)
    >>> result = prediction_powered_mean(truth[:200], predictions[:200], predictions_unlabelled=predictions[200:])
    >>> sorted(result.to_dict())[-3:]
    ['power_tuning', 'std_error', 'tuning_matrix']
    """

    method: str = "ppi++"
    power_tuning: float | Array | None = None
    tuning_matrix: Array | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; influence values are left out."""
        tuning, matrix = self.power_tuning, self.tuning_matrix
        return {
            **super().to_dict(),
            "method": self.method,
            "power_tuning": tuning.tolist() if isinstance(tuning, np.ndarray) else tuning,
            "tuning_matrix": None if matrix is None else matrix.tolist(),
        }

    def _caption(self) -> str:
        if self.tuning_matrix is not None or self.power_tuning is None:
            return f"{super()._caption()}; method {self.method}"
        values = ", ".join(f"{value:.3f}" for value in np.atleast_1d(self.power_tuning))
        return f"{super()._caption()}; method {self.method}, power tuning {values}"


def result_of(
    solve: Solver,
    labelled: Side,
    unlabelled: Side,
    codes: Codes | None,
    names: tuple[str, ...],
    method: str,
    n_bootstrap: int,
    random_state: Any,
) -> PredictionPoweredResult:
    """Solve, and wrap the solution with the covariance that was asked for."""
    n, total = labelled.n, labelled.n + unlabelled.n
    solution: Solution = solve(labelled, unlabelled, codes)
    scores = solution.parts
    scores *= total
    influence: Array | None = scores
    clusters = None if codes is None else Groups(codes, np.arange(int(codes.max()) + 1))
    cov = influence_covariance(scores, groups=clusters)
    counts = [(s, len(np.unique(c))) for s, c in _clustered_sides(labelled, unlabelled, codes, method)]
    words = " and ".join(f"{count} {side} clusters" for side, count in counts) or "independent rows"
    if n_bootstrap:
        rng = generator(random_state)
        draws = bootstrap_estimates(solve, labelled, unlabelled, codes, n_bootstrap=n_bootstrap, rng=rng)
        cov, influence = np.atleast_2d(np.cov(draws, rowvar=False)), None
        words = f"{words}, bootstrap of {n_bootstrap} resamples"
    debias = method == "predict_then_debias"
    tuning: float | Array = solution.tuning if solution.tuning.ndim else float(solution.tuning)
    return PredictionPoweredResult(
        estimate=solution.estimate,
        cov=cov,
        names=names,
        n_obs=n if method == "classical" else total,
        influence_values=influence,
        groups=codes if influence is not None else None,
        df=min(count for _, count in counts) - 1 if counts else None,
        dependence=words,
        method=method,
        power_tuning=None if debias else tuning,
        tuning_matrix=solution.tuning if debias else None,
    )


def _clustered_sides(labelled: Side, unlabelled: Side, codes: Codes | None, method: str) -> list[tuple[str, Codes]]:
    """Name and codes of each sample that came with groups and takes part."""
    if codes is None:
        return []
    sides = [("labelled", codes[: labelled.n])] if labelled.clustered else []
    if unlabelled.clustered and method != "classical":
        sides.append(("unlabelled", codes[labelled.n :]))
    return sides
