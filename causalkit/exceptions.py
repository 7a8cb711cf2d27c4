"""Every named error and warning of the library.

Errors derive from the built-in class that a caller would catch anyway (``ValueError``,
``ImportError``, ``OSError``), so ``except ValueError`` keeps working.
"""

from sklearn.exceptions import ConvergenceWarning, NotFittedError

__all__ = [
    "CalibrationError",
    "CalibrationWarning",
    "ConvergenceWarning",
    "DataNotFoundError",
    "DiscretePredictionsError",
    "ExtrapolationWarning",
    "LeakageWarning",
    "MissingDependencyError",
    "NotFittedError",
    "OverlapWarning",
    "PersistenceError",
    "WeakInstrumentWarning",
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
