"""Parameters of an encoder, checked before any work."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalkit.extrapolation.code_parts import CodeElsewhere
from causalkit.extrapolation.encoder_inputs import EncoderRows
from causalkit.extrapolation.encoder_models import most_components
from causalkit.validation import check_choice, check_integer

__all__ = ["METHODS", "check_encoder_options", "checked_components", "moment_weighting_of", "number_or_auto"]

METHODS = ("sieve", "autoencoder", "variational", "linear_prior")


def check_encoder_options(encoder: Any) -> None:
    """Refuse parameters of a LinearInvarianceEncoder that make no sense."""
    check_choice(encoder.method, "method", METHODS)
    check_choice(encoder.moment_weighting, "moment_weighting", ("auto", "orthonormal", "kernel"))
    check_choice(encoder.initial, "initial", ("sieve", None))
    check_integer(encoder.n_basis, "n_basis", low=1)
    for name in ("ridge", "penalty"):
        number_or_auto(getattr(encoder, name), name)
    if number_or_auto(encoder.prior_weight, "prior_weight") is None:
        raise ValueError('prior_weight must be a number of at least 0; got "auto".')
    for name in ("action_features", "encoder_module", "decoder_module"):
        code = getattr(encoder, name)
        if isinstance(code, CodeElsewhere):
            code()


def checked_components(n_components: Any, rows: EncoderRows) -> int | None:
    """d, or None for "auto"."""
    if isinstance(n_components, str):
        check_choice(n_components, "n_components", ("auto",))
        return None
    d = check_integer(n_components, "n_components", low=1)
    k, m = rows.actions.shape[1], int(np.prod(rows.X.shape[1:]))
    if d > most_components(rows):
        raise ValueError(
            f"n_components={d} is more than {k} actions (rank {k}) or {m} features allow: every latent direction must "
            f"be moved by an action of its own. Pass at most {most_components(rows)}."
        )
    return d


def moment_weighting_of(encoder: Any) -> str:
    """How the moments of the penalty are weighted: "auto" is "orthonormal"."""
    return "kernel" if encoder.moment_weighting == "kernel" else "orthonormal"


def number_or_auto(value: Any, name: str) -> float | None:
    """A number of at least 0, or None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    ok = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not ok or not np.isfinite(value) or value < 0:
        raise ValueError(f'{name} must be "auto" or a number of at least 0; got {value!r}.')
    return float(value)
