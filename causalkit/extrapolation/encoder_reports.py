"""Diagnostics and summaries of encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.components import CanonicalTest
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.invariance import InvarianceTest, visible_share_spectrum, wild_bootstrap_pvalue
from causalkit.extrapolation.penalty import project_off_actions
from causalkit.extrapolation.sieve_fit import ActionMoments
from causalkit.inference import FitSummary

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ASSUMPTIONS",
    "EncoderDiagnostics",
    "diagnose_encoder",
    "invariance_of_rows",
    "summarise_encoder",
    "weak_direction",
]

Array = NDArray[np.float64]

ASSUMPTIONS = (
    "Exogenous action: A was set independently of everything hidden (randomised, or as good as).",
    "Through the latent only: A reaches X and Y only by moving Z.",
    "Linear action: A (or the declared action_features t(A)) moves Z linearly, in every direction of Z.",
    "Full support of the noise: V has no bounds, so a far action yields latent values that training has seen, if "
    "rarely. This is a statement about the population; support() says how many rows carry it.",
    "Noiseless injective features: X determines Z, and nothing else varies in X.",
    "Additive outcome noise: Y = l(Z) + U.",
    "Enough distinct actions: a support with non-empty interior (not one-hot, not a few points).",
)

_LEVEL = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class EncoderDiagnostics:
    """What is known about an encoder without looking at outcomes.

    Attributes
    ----------
    canonical_correlations : DataFrame
        Correlation with the action and p-value of every direction, on held-out rows.
    invariance : InvarianceTest
        Test of linear invariance on held-out rows, with its visible share.
    path : DataFrame
        Values of the ridge or of the penalty that were compared.
    invariance_penalty : float
        Q_B on held-out rows.
    reconstruction_error : float or None
        Share of the features' variance that is not reconstructed.
    """

    canonical_correlations: pd.DataFrame
    invariance: InvarianceTest
    path: pd.DataFrame
    invariance_penalty: float
    reconstruction_error: float | None

    @property
    def ok(self) -> bool:
        """Whether every direction is moved, and linear invariance is not refused at 1 %."""
        return bool((self.canonical_correlations["pvalue"] < _LEVEL).all() and self.invariance.pvalue >= _LEVEL)

    def __repr__(self) -> str:
        lines = [
            "Canonical correlations with the action, held-out rows:",
            self.canonical_correlations.round(4).to_string(),
            f"Penalty Q_B on held-out rows: {self.invariance_penalty:.4g}",
            repr(self.invariance),
        ]
        if self.reconstruction_error is not None:
            lines.insert(2, f"Share of variance not reconstructed: {self.reconstruction_error:.4g}")
        return "\n".join(lines)


def invariance_of_rows(
    phi: Array,
    standard: Array,
    functions: ActionMoments,
    *,
    held_out: bool,
    n_bootstrap: int = 499,
    method: str = "wild",
    seed: int = 0,
) -> InvarianceTest:
    """Test of linear invariance on rows, with its visible share.

    Parameters
    ----------
    phi : ndarray, shape (n, d)
        Representation.
    standard : ndarray, shape (n, k)
        Standardised actions.
    functions : ActionMoments
        Functions of the action.
    held_out : bool
        Whether the rows were kept from training.
    n_bootstrap, method
        As in :func:`causalkit.extrapolation.wild_bootstrap_pvalue`.
    seed : int
        Key of its draws.
    """
    projected, _ = project_off_actions(functions.values(standard), standard)
    _, _, residual = action_line(phi, standard, None)
    statistic, pvalue = wild_bootstrap_pvalue(
        residual, projected, n_bootstrap=n_bootstrap, method=method, rng=np.random.default_rng(seed)
    )
    visible = visible_share_spectrum(phi, standard, projected)
    return InvarianceTest(statistic, pvalue, n_bootstrap, method, len(phi), held_out, visible)


def diagnose_encoder(encoder: Any) -> EncoderDiagnostics:
    """Diagnostics of a fitted LinearInvarianceEncoder."""
    import pandas as pd

    test = encoder._test
    table = pd.DataFrame(
        {"correlation": test.correlations, "pvalue": test.pvalues},
        index=pd.Index([f"latent{j}" for j in range(len(test.pvalues))], name="direction"),
    )
    return EncoderDiagnostics(
        table, encoder.invariance_test(), encoder.path_, encoder.invariance_penalty_, encoder.reconstruction_error_
    )


def weak_direction(test: CanonicalTest) -> str | None:
    """What is said of a direction that the actions hardly move, if there is one."""
    passed = test.passed(_LEVEL)
    if passed == len(test.pvalues):
        return None
    remedy = (
        f"Lower n_components to {passed}" if passed > 0 else "Stronger actions, other features or more rows are needed"
    )
    return (
        f"direction {len(test.pvalues)} is hardly moved by the actions: canonical correlation "
        f"{test.correlations[-1]:.3g} on held-out rows (p = {test.pvalues[-1]:.2g}). {remedy}."
    )


def summarise_encoder(encoder: Any) -> FitSummary:
    """Summary of a fitted LinearInvarianceEncoder."""
    import pandas as pd

    table = pd.DataFrame(
        encoder.action_matrix_,
        columns=[f"slope on {name}" for name in encoder.action_names_]
        if encoder.action_matrix_.shape[1] == len(encoder.action_names_)
        else [f"slope on t{j}(A)" for j in range(encoder.action_matrix_.shape[1])],
        index=pd.Index([f"latent{j}" for j in range(encoder.n_components_)], name="direction"),
    )
    table.insert(0, "canonical correlation", encoder.canonical_correlations_)
    tuning = f"ridge {encoder.ridge_:g}" if encoder.method == "sieve" else f"penalty {encoder.penalty_:g}"
    notes = [
        f"LinearInvarianceEncoder, method={encoder.method!r}: {encoder.n_features_in_} features to "
        f"{encoder.n_components_} coordinates, {tuning}",
        "Coordinates are known up to an affine map: do not interpret them one by one.",
    ]
    if encoder.method == "sieve":
        constant = int((encoder._model.basis.scale == 0).sum())
        if constant:
            notes.append(f"{constant} constant features are left out")
        notes.append(
            "The sieve has no decoder, hence no reconstruction check; noise on X, or variation in X that Z does not "
            "drive, breaks it, as it breaks the model; images need network features."
        )
    return FitSummary(table, notes=tuple(notes), assumptions=ASSUMPTIONS)
