"""Every named error and warning of the library.

Errors derive from the built-in class that a caller would catch anyway (``ValueError``,
``ImportError``, ``OSError``), so ``except ValueError`` keeps working.
"""

from sklearn.exceptions import ConvergenceWarning, NotFittedError

__all__ = [
    "AdditivityWarning",
    "AlignmentError",
    "AugmentationError",
    "BadControlError",
    "BadControlWarning",
    "CalibrationError",
    "CalibrationWarning",
    "ConvergenceWarning",
    "DataNotFoundError",
    "DatasetNotFoundError",
    "DegenerateLogRatioError",
    "DegreesOfFreedomError",
    "DeviceUnavailableError",
    "DiscretePredictionsError",
    "ExtrapolationWarning",
    "FoldError",
    "GraphCoverageWarning",
    "GraphError",
    "IdentificationError",
    "InferenceUnavailableError",
    "LeakageWarning",
    "MethodNotApplicableError",
    "MissingDependencyError",
    "NetworkDependenceWarning",
    "NoInvariantDirectionError",
    "NonFiniteError",
    "NonPositiveError",
    "NotFittedError",
    "NuisanceFitWarning",
    "OverlapWarning",
    "PersistenceError",
    "PredictiveSelectionWarning",
    "RankError",
    "ShrinkageWarning",
    "TooFewPartsError",
    "UnderIdentifiedError",
    "UnseenLevelError",
    "UnsupportedActionError",
    "WeakInstrumentWarning",
    "ZeroReplacementError",
    "ZeroReplacementWarning",
]


class CalibrationError(ValueError):
    """The calibration sample cannot identify the map from predictions to outcomes."""


class DiscretePredictionsError(CalibrationError):
    """The predictions have atoms, so the density that a score needs does not exist."""


class PersistenceError(ValueError):
    """A saved file is damaged, altered, of another format version, or names an unknown class."""


class DataNotFoundError(OSError):
    """A data file is neither shipped, cached nor reachable; the message says where it was looked for."""


class MissingDependencyError(ImportError):
    """An optional dependency is not installed; the message names the extra to install."""


class CalibrationWarning(UserWarning):
    """The calibration ran, but its assumptions or its size call for a second look."""


class OverlapWarning(UserWarning):
    """Treatment probabilities are close to 0 or 1 for some rows."""


class WeakInstrumentWarning(UserWarning):
    """The quantity that is divided by is not clearly different from zero."""


class ExtrapolationWarning(UserWarning):
    """A result is asked for outside the range that the data cover."""


class LeakageWarning(UserWarning):
    """A nuisance model appears to have been fitted on the rows that it is evaluated on."""


class NonFiniteError(ValueError):
    """A composition holds NaN or infinity."""


class NonPositiveError(ValueError):
    """A composition holds a negative amount, or a zero where there is no rule for zeros."""


class TooFewPartsError(ValueError):
    """A composition has fewer parts than the question needs."""


class DegreesOfFreedomError(ValueError):
    """Too few rows for the number of parts and confounders."""


class DegenerateLogRatioError(ValueError):
    """Some log-ratio does not vary, so the log-ratio covariance is not of full rank."""


class InferenceUnavailableError(ValueError):
    """The test or interval asked for does not exist for this kind of fit; the message names one that does."""


class ZeroReplacementError(ValueError):
    """The zeros cannot be replaced by the method asked for."""


class DatasetNotFoundError(FileNotFoundError):
    """A data set that does not ship was not found; the message says where it was looked for and what it is."""


class ZeroReplacementWarning(UserWarning):
    """The zeros were replaced, but the replacement dominates a row or contradicts its detection limit."""


class ShrinkageWarning(UserWarning):
    """Shrinkage went all the way to its target."""


class AugmentationError(ValueError):
    """The augmentation, or the augmented features, cannot be used as given."""


class MethodNotApplicableError(ValueError):
    """The method does not apply to this kind of input; the message names one that does."""


class UnderIdentifiedError(ValueError):
    """There are fewer instruments, or fewer rows, than the estimate needs."""


class RankError(ValueError):
    """The features are collinear, or more than the rows, and nothing regularises them."""


class NoInvariantDirectionError(ValueError):
    """The augmentation moves every direction of the features, so only a constant is invariant."""


class PredictiveSelectionWarning(UserWarning):
    """A parameter was chosen by predictive loss, which does not aim at causal risk."""


class IdentificationError(ValueError):
    """The data do not identify the estimate; the message names what has no variation of its own."""


class UnseenLevelError(ValueError):
    """A level, or a combination of levels, was not in the data of the fit, and the method has no value for it."""


class BadControlError(ValueError):
    """A confounder is declared to have been settled after the cause, so removing it would remove part of the effect."""


class BadControlWarning(UserWarning):
    """A confounder follows the cause so closely that it may have been settled after it."""


class NuisanceFitWarning(UserWarning):
    """Residuals of the nuisance models still go with the confounders."""


class AdditivityWarning(UserWarning):
    """The effect of the cause differs over the confounders, which the additive model leaves out."""


class DeviceUnavailableError(ValueError):
    """The device asked for does not exist on this machine, or torch cannot reach it."""


class AlignmentError(ValueError):
    """Rows and nodes of a graph cannot be matched without a guess."""


class GraphError(ValueError):
    """The edges, weights or matrix do not describe a graph that the method can use."""


class FoldError(ValueError):
    """The folds overlap, leave rows out, or leave too few rows to train on."""


class GraphCoverageWarning(UserWarning):
    """Neighbours of the rows are missing from the data, so aggregates over neighbours leave them out."""


class NetworkDependenceWarning(UserWarning):
    """The standard error rests on a reach or on clusters for which the network leaves little independence."""


class UnsupportedActionError(ValueError):
    """Too few rows carry an answer about an action that was asked for."""
