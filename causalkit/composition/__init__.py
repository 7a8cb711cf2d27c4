"""Composition: columns that are parts of a whole, their transforms, zeros and direct relations."""

from causalkit.composition.box_cox import BoxCoxCLR
from causalkit.composition.covariance import (
    log_ratio_covariance,
    proportionality,
    symmetric_balance_correlation,
    variation_matrix,
)
from causalkit.composition.fitting import partial_correlation
from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso
from causalkit.composition.independence import ConditionalIndependence, compositional_ci_test
from causalkit.composition.partial_correlation_estimator import CompositionalPartialCorrelation
from causalkit.composition.robust import robust_log_ratio_covariance
from causalkit.composition.shrinkage import closure_null, shrink_covariance
from causalkit.composition.stability import StabilitySelection, stability_selection
from causalkit.composition.transforms import ALR, CLR, ILR, Closure
from causalkit.composition.zero_replacement import ZeroReplacement

__all__ = [
    "ALR",
    "CLR",
    "ILR",
    "BoxCoxCLR",
    "Closure",
    "CompositionalGraphicalLasso",
    "CompositionalPartialCorrelation",
    "ConditionalIndependence",
    "StabilitySelection",
    "ZeroReplacement",
    "closure_null",
    "compositional_ci_test",
    "log_ratio_covariance",
    "partial_correlation",
    "proportionality",
    "robust_log_ratio_covariance",
    "shrink_covariance",
    "stability_selection",
    "symmetric_balance_correlation",
    "variation_matrix",
]
