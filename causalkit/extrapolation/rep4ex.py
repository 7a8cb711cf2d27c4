"""Rep4Ex: the mean outcome under actions that were never tried."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import r2_score
from sklearn.utils import RegressorTags
from sklearn.utils.validation import check_is_fitted

from causalkit._crossfit_tasks import root_seed
from causalkit.atomic_fit import atomic_fit
from causalkit.exceptions import (
    ExtrapolationWarning,
    MethodNotApplicableError,
    UnsupportedActionError,
    WeakInstrumentWarning,
)
from causalkit.extrapolation.actions import check_actions, check_new_actions
from causalkit.extrapolation.baselines import BASELINES, make_baseline
from causalkit.extrapolation.curve_reports import CALIBRATION_LIMIT, CurveDiagnostics, CurveSummary, independence_test
from causalkit.extrapolation.encoder import LinearInvarianceEncoder, weak_direction
from causalkit.extrapolation.encoder_inputs import check_features, transformed_actions
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.invariance import InvarianceTest, visible_share_spectrum, wild_bootstrap_pvalue
from causalkit.extrapolation.penalty import project_off_actions
from causalkit.extrapolation.rep4ex_fit import (
    CurveRows,
    CurveSettings,
    FittedCurve,
    encoded,
    fit_curve,
    fit_encoder,
    moments_of,
    reported_losses,
    stage_of,
)
from causalkit.extrapolation.support import ActionSupport, support_table
from causalkit.extrapolation.uncertainty import (
    CurveResult,
    bootstrap_curve,
    ensemble_curve,
    influence_curve,
    resampled_curves,
)
from causalkit.validation import check_choice, check_groups, check_integer, check_sample_weight, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rep4Ex"]

Array = NDArray[np.float64]

_LEVEL = 0.01


class Rep4Ex(BaseEstimator):
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
    random_state : int, RandomState or None
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
            rows, names = self._checked(encoder, actions, y, features, sample_weight, groups)
            settings = CurveSettings(
                encoder,
                self.outcome_model,
                self._calibration(),
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

    def _checked(
        self, encoder: Any, actions: Any, y: Any, features: Any, sample_weight: Any, groups: Any
    ) -> tuple[CurveRows, list[str]]:
        if y is None:
            raise ValueError(
                "Rep4Ex requires y to be passed, but the target y is None: expected one outcome per action."
            )
        raw, names, scale = check_actions(actions)
        n = len(raw)
        outcome = check_vector(y, "y", n_rows=n, like="actions")
        function = getattr(encoder, "action_features", None)
        moved = raw
        if function is not None:
            moved = transformed_actions(function, raw)
            _, _, scale = check_actions(moved, warn=False)
        any_shape = not isinstance(encoder, LinearInvarianceEncoder) or (
            encoder.encoder_module is not None or not isinstance(encoder.basis, str)
        )
        values = check_features(features, n, any_shape=any_shape)
        weight = check_sample_weight(sample_weight, n, like="actions")
        checked = check_groups(groups, n, like="actions")
        rows = CurveRows(
            values,
            raw,
            moved,
            scale.standardised(moved),
            outcome,
            None if weight is None else weight / weight.mean(),
            checked,
            scale,
        )
        return rows, names

    def _calibration(self) -> float | None:
        value = self.calibration
        if isinstance(value, str) and value == "auto":
            return None
        ok = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not ok or not np.isfinite(value) or value < 0:
            raise ValueError(f'calibration must be "auto" or a number of at least 0; got {value!r}.')
        return float(value)

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
        self.diagnostics_ = self._diagnosed(rows, settings, fitted)

    def _diagnosed(self, rows: CurveRows, settings: CurveSettings, fitted: FittedCurve) -> CurveDiagnostics:
        import pandas as pd

        losses, curves, shell = reported_losses(rows, fitted, settings)
        report = fitted.split.report
        phi = encoded(fitted.held_encoder, rows.features[report])
        standard = rows.standard[report]
        projected, _ = project_off_actions(moments_of(rows, settings.seed).values(standard), standard)
        _, _, residual = action_line(phi, standard, None)
        rng = np.random.default_rng(settings.seed)
        statistic, pvalue = wild_bootstrap_pvalue(residual, projected, rng=rng)
        visible = visible_share_spectrum(phi, standard, projected)
        test = InvarianceTest(statistic, pvalue, 499, "wild", len(report), True, visible)
        own = isinstance(fitted.held_encoder, LinearInvarianceEncoder)
        error = fitted.held_encoder.reconstruction_error_ if own else None
        calibration = pd.DataFrame([losses | {"limit": CALIBRATION_LIMIT}], index=["inside the support"])
        return CurveDiagnostics(
            calibration,
            curves,
            shell,
            fitted.held_encoder.diagnostics().canonical_correlations if own else None,
            test,
            independence_test(residual, moments_of(rows, settings.seed).values(standard), seed=settings.seed),
            None if error is None else 1 - error,
        )

    def _judge(self) -> None:
        found = self.diagnostics_
        root = float(found.calibration["root"].iloc[0])
        if root > CALIBRATION_LIMIT:
            self._warn(self._misses(root))
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

    def _misses(self, root: float) -> str:
        return (
            f"the curve is off by {root:.2g} sd(y) inside the support, where the answer is known from y on actions "
            f"(limit {CALIBRATION_LIMIT}): it misses the data there, and deserves less trust beyond. See diagnostics()."
        )

    def _warn(self, message: str, stacklevel: int = 4) -> None:
        warnings.warn(message, ExtrapolationWarning, stacklevel=stacklevel)

    # ------------------------------------------------------------------ curves

    def predict(self, actions: Any) -> Array:
        """Mean outcome under do(A = a), shape (m,).

        Parameters
        ----------
        actions : array-like or frame, shape (m, k)
            Actions; columns of a frame are matched by name.
        """
        wanted = self._wanted(actions)
        self._check_support(wanted)
        return self._curve(wanted)

    def predict_given_features(self, actions: Any, *, features: Any) -> Array:
        """Mean outcome of units with given features under an action: what y is expected for x, had a been set.

        It is not the regression of y on features, which carries the confounding of the data.

        Parameters
        ----------
        actions : array-like, shape (m, k) or (1, k)
            One action per row of features, or one for all.
        features : array-like, shape (m, ...)
            Features.

        Returns
        -------
        ndarray, shape (m,)
        """
        wanted = self._wanted(actions)
        values = check_features(self._matched(features), any_shape=True)
        if len(wanted) not in (1, len(values)):
            raise ValueError(
                f"actions has shape {wanted.shape}, features {values.shape}: expected one action per row of features, "
                "or one for all."
            )
        wanted = np.broadcast_to(wanted, (len(values), wanted.shape[1]))
        total = sum(len(part.phi) for part in self._parts)
        return np.asarray(
            sum(
                len(part.phi) / total * part.given_features(wanted, encoded(encoder, values))
                for encoder, part in zip(self._encoders, self._parts, strict=True)
            )
        )

    def support(self, actions: Any) -> pd.DataFrame:
        """How many rows carry the answer, per action.

        Parameters
        ----------
        actions : array-like, shape (m, k)
            Actions.

        Returns
        -------
        DataFrame
            ``ess``, ``ess_share``, ``ess_classifier``, ``inside_share``, ``in_action_support`` and ``flag``:
            "observed", "reachable", "thin" or "unsupported".
        """
        wanted = self._wanted(actions)
        tables = [support_table(support, wanted) for support in self._supports]
        worst = max(range(len(tables)), key=lambda j: -float(tables[j]["ess_share"].sum()))
        return tables[worst]

    def inference(
        self, actions: Any, *, method: str = "influence", n_bootstrap: int = 200, n_encoders: int = 5
    ) -> CurveResult:
        """Dose curve with intervals; the label of the result says what they include.

        Parameters
        ----------
        actions : array-like, shape (m, k)
            Actions.
        method : {"influence", "bootstrap", "ensemble"}, default="influence"
            "influence" and "bootstrap" take the representation as given; "ensemble" refits the encoder on resampled
            data. None covers the bias of an encoder that is not affine.
        n_bootstrap : int, default=200
            Draws.
        n_encoders : int, default=5
            Encoders of an ensemble.

        Returns
        -------
        CurveResult
        """
        check_choice(method, "method", ("influence", "bootstrap", "ensemble"))
        wanted = self._wanted(actions)
        rows, settings, rows_of = self._kept("inference")
        flags = self.support(actions)
        self._check_support(wanted, flags)
        raw = check_new_actions(actions, self.action_names_, self._framed)
        names = [f"do({', '.join(f'{v:g}' for v in row)})" for row in raw]
        common = (self._parts, rows_of, rows.y, rows.moved, wanted, rows.groups, names, flags)
        if method == "influence":
            return influence_curve(*common)
        draws = check_integer(n_bootstrap, "n_bootstrap", low=10)
        if method == "bootstrap":
            return bootstrap_curve(*common, draws, settings.seed)
        count = check_integer(n_encoders, "n_encoders", low=2)
        curves = np.stack([self._refitted(rows, settings, wanted, draws // count + 1, j) for j in range(count)])
        return ensemble_curve(self._curve(wanted), curves, names, len(rows.y), flags)

    def _refitted(self, rows: CurveRows, settings: CurveSettings, wanted: Array, draws: int, number: int) -> Array:
        """Curves of resampled second stages on an encoder fitted on a resampled data set."""
        rng = np.random.default_rng([settings.seed, number])
        units = np.arange(len(rows.y)) if rows.groups is None else rows.groups.codes
        chosen = rng.integers(int(units.max()) + 1, size=int(units.max()) + 1)
        counts = np.bincount(chosen, minlength=int(units.max()) + 1)[units]
        sample = np.repeat(np.arange(len(rows.y)), counts)
        encoder = fit_encoder(self._tuned(settings.encoder), rows, sample, settings.seed + 1 + number)
        phi = encoded(encoder, rows.features[sample])
        part = stage_of(rows, settings, phi, sample, self.calibration_)
        return resampled_curves(part, rows.y[sample], rows.moved[sample], wanted, units[sample], draws, rng)

    def _tuned(self, encoder: Any) -> Any:
        from sklearn.base import clone

        fitted = self._encoders[0]
        tuned = clone(encoder)
        if isinstance(fitted, LinearInvarianceEncoder):
            tuned.set_params(n_components=fitted.n_components_, random_state=None)
            if fitted.ridge_ is not None:
                tuned.set_params(ridge=fitted.ridge_)
            elif fitted.penalty_ is not None:
                tuned.set_params(penalty=fitted.penalty_)
        return tuned

    def score(self, actions: Any, y: Any) -> float:
        """R² of the do-mean for outcomes: low by nature, for comparisons within one data set only."""
        wanted = self._wanted(actions)
        return float(r2_score(check_vector(y, "y", n_rows=len(wanted), like="actions"), self._curve(wanted)))

    def baselines(self, actions: Any) -> pd.DataFrame:
        """Curve of the model beside regressions of y on the actions, which know nothing of features.

        Parameters
        ----------
        actions : array-like, shape (m, k)
            Actions.

        Returns
        -------
        DataFrame
            "Rep4Ex", "linear", "flexible", "network", and "engression" where it is installed.
        """
        import pandas as pd

        wanted = self._wanted(actions)
        raw = check_new_actions(actions, self.action_names_, self._framed)
        rows, settings, _ = self._kept("baselines")
        table = {"Rep4Ex": self._curve(wanted)}
        for name in BASELINES:
            if name not in self._baselines:
                model = make_baseline(name, raw.shape[1], settings.seed)
                self._baselines[name] = None if model is None else model.fit(rows.actions, rows.y)
            if self._baselines[name] is not None:
                table[name] = self._baselines[name].predict(raw)
        return pd.DataFrame(table)

    def diagnostics(self) -> CurveDiagnostics:
        """Agreement with the data inside the support, losses on the outer shell, tests; ``.ok`` if all is well."""
        check_is_fitted(self)
        return self.diagnostics_

    def summary(self) -> CurveSummary:
        """What was fitted, how it compares, and the assumptions that it rests on."""
        check_is_fitted(self)
        found = self.diagnostics_
        encoder = self._encoders[0]
        own = isinstance(encoder, LinearInvarianceEncoder)
        notes = [
            f"Rep4Ex: {len(self.representation_)} rows, {self.n_features_in_} actions, "
            f"{self.representation_.shape[1]} latent coordinates by {type(encoder).__name__}"
            + (f" (method={encoder.method!r})" if own else ""),
            f"second stage: {type(self._parts[0].outcome_model).__name__}, calibration {self.calibration_:g}; "
            + ("encoder and second stage on the same rows" if self.cv is None else "cross-fitted"),
            f"inside the support the curve is off by {float(found.calibration['root'].iloc[0]):.3g} sd(y)",
            "Below: mean squared error on the outer shell of the actions, of this model and of regressions on actions.",
        ]
        return CurveSummary(found.shell, tuple(notes))

    # ------------------------------------------------------------------ steps

    def _wanted(self, actions: Any) -> Array:
        check_is_fitted(self)
        values = check_new_actions(actions, self.action_names_, self._framed)
        return values if self._action_features is None else transformed_actions(self._action_features, values)

    def _curve(self, wanted: Array) -> Array:
        total = sum(len(part.phi) for part in self._parts)
        return np.asarray(sum(len(part.phi) / total * part.do_mean(wanted) for part in self._parts))

    def _check_support(self, wanted: Array, table: Any = None) -> None:
        inside = self._supports[0].observed(wanted)
        if inside.all():
            return
        root = float(self.diagnostics_.calibration["root"].iloc[0])
        if root > CALIBRATION_LIMIT:
            self._warn(self._misses(root))
        beyond = np.flatnonzero(~inside)
        found = support_table(self._supports[0], wanted[beyond]) if table is None else table.iloc[beyond]
        poor = np.flatnonzero(found["flag"].isin(["thin", "unsupported"]).to_numpy())
        if len(poor) == 0:
            return
        worst = poor[int(np.argmin(found["ess"].to_numpy()[poor]))]
        reach = self._supports[0].reach(wanted[beyond[worst]])
        message = (
            f"{len(poor)} of {len(wanted)} actions are carried by few rows (rows {beyond[poor][:5].tolist()}; worst: "
            f"ESS {found['ess'].iloc[worst]:.3g}, inside_share {found['inside_share'].iloc[worst]:.2g}, flag "
            f"{found['flag'].iloc[worst]!r}). Of the worst one about {reach:.2g} times the action can be reached."
        )
        if self.on_unsupported == "raise":
            raise UnsupportedActionError(f"{message} Ask for weaker actions, or pass on_unsupported='warn'.")
        self._warn(f"{message} See support().")

    def _matched(self, features: Any) -> Any:
        """Columns of a frame in the order of ``fit``."""
        if self._feature_columns is None or not hasattr(features, "columns"):
            return features
        given = {str(name): name for name in features.columns}
        absent = [name for name in self._feature_columns if name not in given]
        if absent:
            raise ValueError(f"features has no column {absent[:5]}: fit saw {self._feature_columns[:5]}.")
        return features[[given[name] for name in self._feature_columns]]

    def _kept(self, what: str) -> tuple[CurveRows, CurveSettings, list[NDArray[np.intp]]]:
        kept: tuple[CurveRows, CurveSettings, list[NDArray[np.intp]]] | None = getattr(self, "_rows", None)
        if kept is None:
            raise MethodNotApplicableError(
                f"{what}() needs outcomes and features of the fit, which a saved file does not hold: call it before "
                "saving, or fit again."
            )
        return kept

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "diagnostics_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        tags.regressor_tags = RegressorTags(poor_score=True)  # of a mean by action, not of an outcome
        tags.target_tags.required = True
        return tags
