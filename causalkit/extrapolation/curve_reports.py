"""Diagnostics and summary of a dose curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.curve_rows import CurveRows, CurveSettings
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.encoder_reports import invariance_of_rows
from causalkit.extrapolation.invariance import InvarianceTest
from causalkit.extrapolation.rep4ex_fit import FittedCurve, encoded, moments_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CurveDiagnostics", "diagnose", "independence_test", "misses"]

Array = NDArray[np.float64]

CALIBRATION_LIMIT = 0.1
_LEVEL = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class CurveDiagnostics:
    """What to look at before believing a dose curve, one item per attribute.

    Attributes
    ----------
    calibration : DataFrame
        ``c_in``, ``root`` (√C_in in units of sd(y)) and ``limit``, on rows that chose nothing.
    curves : DataFrame
        The do-curve and the direct regression inside the support, by action.
    shell : DataFrame
        Mean squared error on the outer shell of the actions, of the model and of baselines, sorted.
    canonical_correlations : DataFrame or None
        Of the encoder; None for a transformer of the user's.
    invariance : InvarianceTest
        Test of linear invariance on held-out rows.
    independence : float
        p-value of independence of action and residual, beyond the mean.
    reconstruction : float or None
        Share of the features' variance that is reconstructed.
    """

    calibration: pd.DataFrame
    curves: pd.DataFrame
    shell: pd.DataFrame
    canonical_correlations: pd.DataFrame | None
    invariance: InvarianceTest
    independence: float
    reconstruction: float | None

    @property
    def visible_share(self) -> Any:
        """Which deviations from an affine representation could be seen."""
        return self.invariance.visible

    @property
    def ok(self) -> bool:
        """Whether the curve meets the data inside the support, and no test refuses at 1 %."""
        root = float(self.calibration["root"].iloc[0])
        return root <= CALIBRATION_LIMIT and self.invariance.pvalue >= _LEVEL and self.independence >= _LEVEL

    def __repr__(self) -> str:
        root = float(self.calibration["root"].iloc[0])
        lines = [
            f"CurveDiagnostics(ok={self.ok})",
            f"Calibration inside the support: off by {root:.3g} sd(y) on average (limit {CALIBRATION_LIMIT})",
            "Mean squared error on the outer shell of the actions:",
            self.shell.round(4).to_string(),
            f"Independence of action and residual: p = {self.independence:.3g}",
            repr(self.invariance),
        ]
        return "\n".join(lines)


def independence_test(residual: Array, functions: Array, *, n_permutations: int = 499, seed: int = 0) -> float:
    r"""p-value for independence of the action and the residual beyond its mean.

    The control function needs V independent of A, not only mean-independent. The statistic is
    :math:`n^{-1}\|S'F\|^2` with S = (R², |R|) and the functions F of the action centred, S in units of its spread; rows
    are permuted. F is not projected off the action: a spread that grows with it is the likeliest violation.
    """
    both = np.hstack([residual**2, np.abs(residual)])
    centred = both - both.mean(axis=0)
    spread = centred.std(axis=0)
    scaled = centred / np.where(spread > 0, spread, 1.0)
    centred_functions = functions - functions.mean(axis=0)
    rng = np.random.default_rng(seed)

    def statistic(values: Array) -> float:
        return float(((values.T @ centred_functions) ** 2).sum())

    found = statistic(scaled)
    larger = sum(statistic(scaled[rng.permutation(len(scaled))]) >= found for _ in range(n_permutations))
    return (1 + larger) / (1 + n_permutations)


def diagnose(
    rows: CurveRows, settings: CurveSettings, fitted: FittedCurve, reported: tuple[dict[str, float], Any, Any]
) -> CurveDiagnostics:
    """Diagnostics of a fit on the rows kept for reports, by an encoder that has not seen them.

    Parameters
    ----------
    rows, settings, fitted : CurveRows, CurveSettings, FittedCurve
        The fit.
    reported : tuple
        Of :func:`causalkit.extrapolation.rep4ex_fit.reported_losses`.
    """
    import pandas as pd

    losses, curves, shell = reported
    report = fitted.split.report
    phi = encoded(fitted.held_encoder, rows.features[report])
    standard, moments = rows.standard[report], moments_of(rows, settings.seed)
    _, _, residual = action_line(phi, standard, None)
    own = isinstance(fitted.held_encoder, LinearInvarianceEncoder)
    error = fitted.held_encoder.reconstruction_error_ if own else None
    return CurveDiagnostics(
        calibration=pd.DataFrame([losses | {"limit": CALIBRATION_LIMIT}], index=["inside the support"]),
        curves=curves,
        shell=shell,
        canonical_correlations=fitted.held_encoder.diagnostics().canonical_correlations if own else None,
        invariance=invariance_of_rows(phi, standard, moments, held_out=True, seed=settings.seed),
        independence=independence_test(residual, moments.values(standard), seed=settings.seed),
        reconstruction=None if error is None else 1 - error,
    )


def misses(root: float) -> str:
    """What is said of a curve that is off where the answer is known."""
    return (
        f"the curve is off by {root:.2g} sd(y) inside the support, where the answer is known from y on actions "
        f"(limit {CALIBRATION_LIMIT}): it misses the data there, and deserves less trust beyond. See diagnostics()."
    )
