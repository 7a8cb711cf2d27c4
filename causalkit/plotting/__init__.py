"""Displays in the style of scikit-learn: made by ``from_estimator`` or ``from_result``, drawn by ``plot``."""

from causalkit.plotting.action_support import SupportDisplay
from causalkit.plotting.alpha_path import AlphaPathDisplay
from causalkit.plotting.augmentation_diagnostics import AugmentationDiagnosticsDisplay
from causalkit.plotting.band import BandDisplay
from causalkit.plotting.calibration import CalibrationDisplay
from causalkit.plotting.dose_curve import DoseCurveDisplay
from causalkit.plotting.effect_map import EffectMapDisplay
from causalkit.plotting.invariance_path import InvariancePathDisplay
from causalkit.plotting.overlap import OverlapDisplay
from causalkit.plotting.partial_correlation import PartialCorrelationDisplay
from causalkit.plotting.propensity_overlap import PropensityOverlapDisplay
from causalkit.plotting.reward_comparison import RewardComparisonDisplay
from causalkit.plotting.score import ScoreDisplay
from causalkit.plotting.sensitivity_contour import SensitivityContourDisplay
from causalkit.plotting.site_forest import SiteForestDisplay
from causalkit.plotting.targeting import TOCDisplay
from causalkit.plotting.visible_share import VisibleShareDisplay

__all__ = [
    "AlphaPathDisplay",
    "AugmentationDiagnosticsDisplay",
    "BandDisplay",
    "CalibrationDisplay",
    "DoseCurveDisplay",
    "EffectMapDisplay",
    "InvariancePathDisplay",
    "OverlapDisplay",
    "PartialCorrelationDisplay",
    "PropensityOverlapDisplay",
    "RewardComparisonDisplay",
    "ScoreDisplay",
    "SensitivityContourDisplay",
    "SiteForestDisplay",
    "SupportDisplay",
    "TOCDisplay",
    "VisibleShareDisplay",
]
