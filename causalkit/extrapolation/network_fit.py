"""Fitting a network encoder: starting coordinates from the sieve, the path of the penalty, canonical coordinates."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import delayed

from causalkit.crossfit import run_tasks
from causalkit.extrapolation.autoencoders import AutoencoderPlan, FittedAutoencoder, fit_autoencoder
from causalkit.extrapolation.components import canonical_test
from causalkit.extrapolation.encoder_inputs import EncoderRows
from causalkit.extrapolation.encoder_models import (
    FittedEncoder,
    NetworkEncoder,
    canonical_of,
    fit_sieve_encoder,
    most_components,
    report_penalty,
)
from causalkit.extrapolation.encoder_options import moment_weighting_of
from causalkit.extrapolation.penalty import orthonormal_moments, project_off_actions
from causalkit.extrapolation.reconstruction_check import poor_reconstruction
from causalkit.extrapolation.sieve_fit import ActionMoments

if TYPE_CHECKING:
    from causalkit.extrapolation.encoder import LinearInvarianceEncoder

__all__ = ["fit_network_encoder"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Orthonormal moments have variance 1; those of the kernel sum to less than 1.
_PENALTIES = {
    "orthonormal": (0.0, 0.01, 0.1, 1.0, 10.0, 100.0),
    "kernel": (0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0),
}
_TOLERANCE = 0.2


def fit_network_encoder(
    encoder: LinearInvarianceEncoder, rows: EncoderRows, functions: ActionMoments, n_components: int | None, seed: int
) -> FittedEncoder:
    """Train the network of an encoder on the rows that are not kept for reports.

    With ``penalty="auto"`` every value of the path is trained without the first fold. Values whose reconstruction of
    that fold is within one standard error, or 20 %, of that without a penalty are admissible; among them the smallest
    held-out Q_B is taken, and trained on all rows but those of the report.

    Parameters
    ----------
    encoder : LinearInvarianceEncoder
        Its parameters.
    rows : EncoderRows
        Data.
    functions : ActionMoments
        Functions of the action.
    n_components : int or None
        d; None takes what the sieve finds, or as many as actions for features of more than two axes.
    seed : int
        Key of all draws.

    Returns
    -------
    FittedEncoder

    Warns
    -----
    ConvergenceWarning
        Training had not settled, or the reconstruction is poor.
    """
    report = rows.report
    start = _sieve(rows, functions, n_components, seed)
    d = n_components or (most_components(rows) if start is None else start.report_phi.shape[1])
    initial = None
    if encoder.initial == "sieve" and start is not None:
        initial = start.model.encode(rows.X)
    plan = AutoencoderPlan(
        method=encoder.method,
        n_components=d,
        penalty=0.0,
        encoder_module=encoder.encoder_module,
        decoder_module=encoder.decoder_module,
        hidden_layer_sizes=encoder.hidden_layer_sizes,
        prior_weight=encoder.prior_weight,
        max_steps=encoder.max_steps,
        batch_size=encoder.batch_size,
        learning_rate=encoder.learning_rate,
        device=encoder.device,
        seed=seed % (2**31),
        verbose=encoder.verbose,
        early_stopping=encoder.early_stopping,
        validation_fraction=encoder.validation_fraction,
        patience=encoder.patience,
    )
    weighting = moment_weighting_of(encoder)
    path: list[dict[str, Any]] = []
    if isinstance(encoder.penalty, str):
        path = _path(rows, functions, plan, initial, encoder, weighting)
        penalty = next(float(row["penalty"]) for row in path if row["chosen"])
    else:
        penalty = float(encoder.penalty)
    network = _train(rows, functions, replace(plan, penalty=penalty), initial, ~report, weighting)
    if not network.settled:
        last = network.history[-1]["reconstruction"]
        warnings.warn(
            f"the training of the network had not settled after {plan.max_steps} steps (reconstruction {last:.3g} of "
            "the variance): raise max_steps, or lower penalty.",
            ConvergenceWarning,
            stacklevel=5,
        )
    poor = poor_reconstruction(network, rows.X[~report], rows.X[report], path)
    if poor is not None:
        warnings.warn(poor, ConvergenceWarning, stacklevel=5)
    canonical = canonical_of(network.encode(rows.X[~report]), rows.standard[~report])
    model = NetworkEncoder(network, canonical)
    report_phi = model.encode(rows.X[report])
    test = canonical_test(report_phi, rows.standard[report])
    return FittedEncoder(model, report_phi, test, canonical.correlations, penalty, path, network.history)


def _sieve(rows: EncoderRows, functions: ActionMoments, d: int | None, seed: int) -> FittedEncoder | None:
    """The sieve on the same rows, where features are a table."""
    if rows.X.ndim > 2:
        return None
    return fit_sieve_encoder(
        rows,
        functions,
        n_components=d,
        basis="tanh",
        n_basis=200,
        ridge=None,
        weighting="orthonormal",
        seed=seed,
    )


def _train(
    rows: EncoderRows,
    functions: ActionMoments,
    plan: AutoencoderPlan,
    initial: Array | None,
    used: Mask,
    weighting: str,
) -> FittedAutoencoder:
    standard = rows.standard[used]
    projected, projection = project_off_actions(functions.values(standard), standard)
    moments = orthonormal_moments(projected.T @ projected / len(projected)) if weighting == "orthonormal" else None
    return fit_autoencoder(
        rows.X[used],
        standard,
        functions.frequencies,
        projection,
        plan,
        sample_weight=None if rows.weight is None else rows.weight[used],
        initial=None if initial is None else initial[used],
        moments=moments,
        groups=None if rows.groups is None else rows.groups.codes[used],
    )


def _path(
    rows: EncoderRows,
    functions: ActionMoments,
    plan: AutoencoderPlan,
    initial: Array | None,
    encoder: LinearInvarianceEncoder,
    weighting: str,
) -> list[dict[str, Any]]:
    penalties = _PENALTIES[weighting]
    held = rows.folds == 0
    used = ~held & ~rows.report
    jobs = [
        delayed(_judge)(rows, functions, replace(plan, penalty=penalty), initial, used, held, weighting)
        for penalty in penalties
    ]
    found = run_tasks(jobs, n_jobs=encoder.n_jobs, verbose=encoder.verbose, label="penalties")
    base, error = found[0][0], found[0][1]
    limit = base + max(error, _TOLERANCE * base)
    admissible = [mean <= limit for mean, _, _ in found]
    best = min((q, j) for j, (_, _, q) in enumerate(found) if admissible[j])[1]
    return [
        {"penalty": penalty, "reconstruction": mean, "q_b": q, "admissible": admissible[j], "chosen": j == best}
        for j, (penalty, (mean, _, q)) in enumerate(zip(penalties, found, strict=True))
    ]


def _judge(
    rows: EncoderRows,
    functions: ActionMoments,
    plan: AutoencoderPlan,
    initial: Array | None,
    used: Mask,
    held: Mask,
    weighting: str,
) -> tuple[float, float, float]:
    """Held-out reconstruction with its standard error, and held-out Q_B."""
    network = _train(rows, functions, plan, initial, used, weighting)
    errors = network.row_errors(rows.X[held])
    penalty = report_penalty(network.encode(rows.X[held]), rows.standard[held], functions)
    return float(errors.mean()), float(errors.std() / np.sqrt(len(errors))), penalty
