"""Rep4Ex: the mean outcome under actions that were never tried."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import RegressorTags

from causalkit.atomic_fit import atomic_fit
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import WeakInstrumentWarning
from causalkit.extrapolation.curve_reports import CALIBRATION_LIMIT, diagnose, misses
from causalkit.extrapolation.curve_rows import CurveRows, CurveSettings, calibration_weight, check_curve_rows
from causalkit.extrapolation.dose_curves import DoseCurves
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.encoder_reports import weak_direction
from causalkit.extrapolation.rep4ex_fit import FittedCurve, fit_curve, reported_losses
from causalkit.extrapolation.support import ActionSupport
from causalkit.seeds import root_seed
from causalkit.validation import check_choice, check_integer

__all__ = ["Rep4Ex"]

Array = NDArray[np.float64]

_LEVEL = 0.01


class Rep4Ex(DoseCurves, DocumentedEstimator):
    r"""Mean outcome under interventions beyond the data, through features on which actions act linearly.

    Actions A move hidden variables linearly, Z = MA + V; features X show Z through an unknown injective map; the
    outcome is Y = ℓ(Z) + U, with U and V dependent. With coordinates φ(X) that are affine in Z,
    :math:`\phi = WA + b + R`, and :math:`E[Y\mid\phi, R] = \nu(\phi) + \psi(R)`,

    .. math:: E[Y \mid do(a)] = E[\nu(Wa + b + R)] - (E[\nu(\phi)] - E[Y]), \qquad
              E[Y \mid X = x, do(a)] = \nu(\phi(x)) + \psi(\phi(x) - Wa - b).

    The first is :meth:`predict`, the second :meth:`predict_given_features`. Both hold beyond the support of A as far as
    the noise V has brought rows there: :meth:`support` says how many.

    Parameters
    ----------
    encoder : LinearInvarianceEncoder or transformer, optional
        None is ``LinearInvarianceEncoder()``. A transformer sees the features only; an identity on known latent
        variables is the oracle.
    outcome_model : SplineControlFunction, NeuralControlFunction or alike, optional
        Second stage; None is splines up to three coordinates and networks above.
    calibration : float or "auto", default="auto"
        Weight of the term that makes y - ν(φ) mean-independent of the action; "auto" compares 0 and 30.
    on_unsupported : {"warn", "raise"}, default="warn"
        What happens at actions that too few rows carry.
    cv : int, splitter or iterable, optional
        Cross-fitting: encoder on the training part, second stage on the other. None fits both on all rows: the encoder
        never sees the outcome.
    n_repeats : int, default=1
        Repetitions of a shuffled ``cv``.
    n_jobs : int, optional
        Workers for refits.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where networks train.
    random_state : int, RandomState, Generator or None
        Seed.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    encoder_ : estimator, or list of estimators with ``cv``
        Fitted.
    outcome_model_ : estimator, or list with ``cv``
        Fitted second stage.
    representation_, residual_ : ndarray, shape (n, d)
        φ and R of the rows (of the parts one after the other, with ``cv``).
    outcome_mean_ : float
        ȳ.
    calibration_ : float
        Weight used.
    path_ : DataFrame
        What was compared: penalty, calibration, c_in, shell_loss, chosen.
    diagnostics_ : CurveDiagnostics
        See :meth:`diagnostics`.
    action_names_ : list of str
    n_features_in_ : int
        Number of actions.
    feature_names_in_ : ndarray of str, shape (k,)
        Their names, where ``fit`` saw a frame.

    Raises
    ------
    IdentificationError, ValueError, TypeError
        Actions that identify nothing; input that does not fit.
    UnsupportedActionError
        With ``on_unsupported="raise"``.

    Warns
    -----
    ExtrapolationWarning
        A curve that misses the data inside the support, thin support, residuals that depend on the action.

    References
    ----------
    Saengkyongam, Rosenfeld, Ravikumar, Pfister and Peters (2024), arXiv:2310.04295, theorem 4; Newey, Powell and Vella
    (1999), Econometrica 67. The form of the estimators, their intervals and diagnostics are ours.

    Examples
    --------
    >>> from causalkit.datasets import make_intervention_curve
    >>> from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
    >>> sample = make_intervention_curve(1500, random_state=0)
    >>> encoder = LinearInvarianceEncoder(n_components=1, n_basis=40, ridge=1e-2)
    >>> model = Rep4Ex(encoder=encoder, calibration=0.0, random_state=0)
    >>> model.fit(sample.actions, sample.y, features=sample.features).predict([[0.5]]).shape
    (1,)
    """

    _not_saved = ("_rows", "_baselines")

    def __init__(
        self,
        *,
        encoder: Any = None,
        outcome_model: Any = None,
        calibration: Any = "auto",
        on_unsupported: str = "warn",
        cv: Any = None,
        n_repeats: int = 1,
        n_jobs: int | None = None,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.outcome_model = outcome_model
        self.calibration = calibration
        self.on_unsupported = on_unsupported
        self.cv = cv
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------ fit

    def fit(
        self, actions: Any, y: Any = None, *, features: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Rep4Ex:
        """Fit encoder and second stage.

        Parameters
        ----------
        actions : array-like or frame, shape (n, k)
            Exogenous actions.
        y : array-like, shape (n,)
            Outcome.
        features : array-like or frame, shape (n, m), or (n, ...) with modules
            Features that respond to the actions.
        sample_weight : array-like, shape (n,), optional
            Weights.
        groups : array-like, shape (n,), optional
            Clusters, for splits and intervals.
        """
        with atomic_fit(self):
            check_choice(self.on_unsupported, "on_unsupported", ("warn", "raise"))
            seed = root_seed(self.random_state)
            encoder = LinearInvarianceEncoder(device=self.device) if self.encoder is None else self.encoder
            rows, names = check_curve_rows(encoder, actions, y, features, sample_weight, groups)
            settings = CurveSettings(
                encoder,
                self.outcome_model,
                calibration_weight(self.calibration),
                self.cv,
                check_integer(self.n_repeats, "n_repeats", low=1),
                self.device,
                seed,
            )
            fitted = fit_curve(rows, settings)
            framed = hasattr(actions, "columns")
            labelled = framed and all(isinstance(name, str) for name in actions.columns)
            columns = [str(name) for name in features.columns] if hasattr(features, "columns") else None
            self._store(rows, settings, fitted, names, framed, labelled, columns)
            self._judge()
        return self

    def _store(
        self,
        rows: CurveRows,
        settings: CurveSettings,
        fitted: FittedCurve,
        names: list[str],
        framed: bool,
        labelled: bool,
        columns: list[str] | None,
    ) -> None:
        import pandas as pd

        single = self.cv is None
        self.encoder_ = fitted.encoders[0] if single else fitted.encoders
        models = [part.outcome_model for part in fitted.parts]
        self.outcome_model_ = models[0] if single else models
        self._encoders, self._parts = fitted.encoders, fitted.parts
        self.representation_ = np.concatenate([part.phi for part in fitted.parts])
        self.residual_ = np.concatenate([part.residual for part in fitted.parts])
        self.outcome_mean_ = float(np.average(rows.y, weights=rows.weight))
        self.calibration_ = fitted.choice.calibration if fitted.choice is not None else (settings.calibration or 0.0)
        self.path_ = pd.DataFrame([] if fitted.choice is None else fitted.choice.path)
        self.action_names_, self.n_features_in_, self._framed = names, rows.actions.shape[1], framed
        self._feature_columns = columns
        if hasattr(self, "feature_names_in_"):
            delattr(self, "feature_names_in_")
        if framed and labelled:
            self.feature_names_in_: NDArray[np.object_] = np.asarray(names, dtype=object)
        self._action_features = getattr(settings.encoder, "action_features", None)
        self._supports = [
            ActionSupport(
                part.phi, part.residual, rows.moved[used], part.action_matrix, part.intercept, len(used), settings.seed
            )
            for part, used in zip(fitted.parts, fitted.rows_of, strict=True)
        ]
        self._rows = (rows, settings, fitted.rows_of)
        self._baselines: dict[str, Any] = {}
        self.diagnostics_ = diagnose(rows, settings, fitted, reported_losses(rows, fitted, settings))

    def _judge(self) -> None:
        found = self.diagnostics_
        root = float(found.calibration["root"].iloc[0])
        if root > CALIBRATION_LIMIT:
            self._warn(misses(root))
        if found.independence < _LEVEL:
            self._warn(
                f"the residual of the representation depends on the action beyond its mean (p = "
                f"{found.independence:.2g}): the control function assumes that V is independent of A."
            )
        own = isinstance(self._encoders[0], LinearInvarianceEncoder)
        weak = weak_direction(self._encoders[0]._test) if own else None
        if weak is not None:
            warnings.warn(weak, WeakInstrumentWarning, stacklevel=3)
        if not own and found.invariance.pvalue < _LEVEL:
            self._warn(
                f"the representation of {type(self._encoders[0]).__name__} violates linear invariance (p = "
                f"{found.invariance.pvalue:.2g}): it was not trained for it. Use LinearInvarianceEncoder."
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "diagnostics_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        tags.regressor_tags = RegressorTags(poor_score=True)  # of a mean by action, not of an outcome
        tags.target_tags.required = True
        return tags
