"""Effects of interventions beyond the data: representations on which actions act linearly, and control functions."""

from causalkit.extrapolation.do_curve import do_mean, do_mean_influence
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.invariance import visible_share_spectrum, wild_bootstrap_pvalue
from causalkit.extrapolation.neural_stage import NeuralControlFunction
from causalkit.extrapolation.penalty import (
    between_action_covariance,
    invariance_penalty,
    project_off_actions,
    random_fourier_features,
)
from causalkit.extrapolation.rep4ex import Rep4Ex
from causalkit.extrapolation.second_stage import SplineControlFunction
from causalkit.extrapolation.sieve import canonical_coordinates, solve_sieve
from causalkit.extrapolation.support import effective_sample_size

__all__ = [
    "LinearInvarianceEncoder",
    "NeuralControlFunction",
    "Rep4Ex",
    "SplineControlFunction",
    "between_action_covariance",
    "canonical_coordinates",
    "do_mean",
    "do_mean_influence",
    "effective_sample_size",
    "invariance_penalty",
    "project_off_actions",
    "random_fourier_features",
    "solve_sieve",
    "visible_share_spectrum",
    "wild_bootstrap_pvalue",
]
