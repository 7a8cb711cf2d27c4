"""Causal and statistical estimators with one scikit-learn-style interface.

Names are imported on first use, so that ``import causalkit`` loads neither torch, econml, pyro nor
matplotlib.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "causalkit.augmentation": [
        "IVLikeBoostingRegressor",
        "IVLikeNetClassifier",
        "IVLikeNetRegressor",
        "IVLikeRegressor",
        "IVLikeRegressorCV",
        "anderson_rubin",
        "causal_excess_risk",
        "instrument_diagnostics",
        "invariance_test",
        "normalized_causal_excess_risk",
        "worst_case_risk",
    ],
    "causalkit.composition": [
        "ALR",
        "CLR",
        "ILR",
        "BoxCoxCLR",
        "Closure",
        "CompositionalGraphicalLasso",
        "CompositionalPartialCorrelation",
        "ZeroReplacement",
        "closure_null",
        "compositional_ci_test",
        "log_ratio_covariance",
        "partial_correlation",
        "proportionality",
        "shrink_covariance",
        "stability_selection",
        "symmetric_balance_correlation",
        "variation_matrix",
    ],
    "causalkit.crossfit": ["CrossFitter"],
    "causalkit.debiasing": [
        "DebiasedEffect",
        "DebiasedRegression",
        "EffectAccumulator",
        "HierarchicalCalibration",
        "LinearCalibration",
        "PredictionPoweredResult",
        "SplineCalibration",
        "TweedieCorrection",
        "break_even_share",
        "combine_imputations",
        "compare_corrections",
        "correct_vcov",
        "debiased_effect",
        "exclusion_test",
        "prediction_powered_ate",
        "prediction_powered_mean",
        "prediction_powered_ols",
        "required_calibration_size",
        "slope_heterogeneity",
        "validate_correction",
    ],
    "causalkit.extrapolation": ["LinearInvarianceEncoder", "NeuralControlFunction", "Rep4Ex", "SplineControlFunction"],
    "causalkit.graph": [
        "GNNClassifier",
        "GNNRegressor",
        "Graph",
        "GraphKFold",
        "GraphRLearner",
        "HopFeatures",
        "SpilloverRLearner",
        "exposure_contrast",
        "exposure_mapping",
    ],
    "causalkit.inference": ["InferenceResult"],
    "causalkit.persistence": ["load", "save"],
    "causalkit.rewards": [
        "PairwiseRewardModel",
        "RewardDeconfounder",
        "SentenceEncoder",
        "as_reward_function",
        "benchmark_confounders",
        "combine_with_experiment",
        "compare_rewards",
        "e_value",
        "make_preference_pairs",
        "omitted_variable_bias",
        "robustness_value",
    ],
    "causalkit.selection": ["best_of_n_uplift", "pairwise_accuracy", "r_stacking", "ranking_report"],
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
_SUBMODULES = (
    "augmentation",
    "composition",
    "crossfit",
    "datasets",
    "debiasing",
    "exceptions",
    "extrapolation",
    "graph",
    "inference",
    "linear",
    "nn",
    "persistence",
    "plotting",
    "rewards",
    "selection",
)

__all__ = sorted([*_MODULE_OF, *_SUBMODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return import_module(f"causalkit.{name}")
    raise AttributeError(f"module 'causalkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
