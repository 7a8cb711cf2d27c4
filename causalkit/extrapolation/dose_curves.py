"""What a fitted Rep4Ex answers: curves, intervals, support, comparisons and reports."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import ExtrapolationWarning, MethodNotApplicableError, UnsupportedActionError
from causalkit.extrapolation.actions import check_new_actions
from causalkit.extrapolation.baselines import BASELINES, fitted_baseline
from causalkit.extrapolation.code_parts import CodeParts
from causalkit.extrapolation.curve_part import CurvePart
from causalkit.extrapolation.curve_reports import CALIBRATION_LIMIT, CurveDiagnostics, misses
from causalkit.extrapolation.curve_rows import CurveRows, CurveSettings
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.encoder_inputs import check_features, matched_columns, transformed_actions
from causalkit.extrapolation.encoder_reports import ASSUMPTIONS
from causalkit.extrapolation.rep4ex_fit import encoded
from causalkit.extrapolation.support import ActionSupport, poor_support, support_table
from causalkit.extrapolation.uncertainty import (
    CurveResult,
    bootstrap_curve,
    ensemble_curve,
    influence_curve,
    refitted_curves,
)
from causalkit.inference import FitSummary
from causalkit.validation import check_choice, check_integer, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DoseCurves"]

Array = NDArray[np.float64]


class DoseCurves(CodeParts):
    """Questions to a fitted :class:`~causalkit.extrapolation.Rep4Ex`, whose attributes they are answered from."""

    encoder: Any
    on_unsupported: str
    cv: Any
    representation_: Array
    calibration_: float
    diagnostics_: CurveDiagnostics
    action_names_: list[str]
    n_features_in_: int
    _encoders: list[Any]
    _parts: list[CurvePart]
    _supports: list[ActionSupport]
    _action_features: Any
    _feature_columns: list[str] | None
    _framed: bool
    _baselines: dict[str, Any]

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
        values = check_features(matched_columns(features, self._feature_columns), any_shape=True)
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
        curves = np.stack(
            [
                refitted_curves(
                    rows, settings, self._encoders[0], self.calibration_, wanted, draws // count + 1, number
                )
                for number in range(count)
            ]
        )
        return ensemble_curve(self._curve(wanted), curves, names, len(rows.y), flags)

    def score(self, actions: Any, y: Any) -> float:
        """R² of the do-mean for outcomes: low by nature, for comparisons within one data set only."""
        wanted = self._wanted(actions)
        return float(r2_score(check_vector(y, "y", n_rows=len(wanted), like="actions"), self._curve(wanted)))

    def baselines(self, actions: Any, *, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Curve of the model beside regressions of y on the actions, which know nothing of features.

        Parameters
        ----------
        actions : array-like, shape (m, k)
            Actions.
        names : sequence of str, optional
            Which of "linear", "flexible", "network" and "engression" are fitted, in this order; all that are installed
            by default.

        Returns
        -------
        DataFrame
            "Rep4Ex", and one column per baseline.

        Raises
        ------
        ValueError
            A name that is not known.
        MissingDependencyError
            A baseline asked for by name whose package is not installed.
        """
        import pandas as pd

        chosen = _baseline_names(names)
        wanted = self._wanted(actions)
        raw = check_new_actions(actions, self.action_names_, self._framed)
        rows, settings, _ = self._kept("baselines")
        table = {"Rep4Ex": self._curve(wanted)}
        for name in chosen:
            if self._baselines.get(name) is None:
                self._baselines[name] = fitted_baseline(
                    name, rows.actions, rows.y, settings.seed, required=names is not None
                )
            if self._baselines[name] is not None:
                table[name] = self._baselines[name].predict(raw)
        return pd.DataFrame(table)

    @property
    def observed_actions_(self) -> Array:
        """Actions of the fit, shape (n, k), as they were given; a model from a file has none."""
        kept = getattr(self, "_rows", None)
        if kept is None:
            raise AttributeError("observed_actions_ belongs to a fit: a saved file does not hold the actions.")
        return np.array(kept[0].actions)

    def diagnostics(self) -> CurveDiagnostics:
        """Agreement with the data inside the support, losses on the outer shell, tests; ``.ok`` if all is well."""
        check_is_fitted(self)
        return self.diagnostics_

    def summary(self) -> FitSummary:
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
        return FitSummary(found.shell, notes=tuple(notes), assumptions=ASSUMPTIONS)

    # ------------------------------------------------------------------ steps

    def _warn(self, message: str, stacklevel: int = 4) -> None:
        warnings.warn(message, ExtrapolationWarning, stacklevel=stacklevel)

    def _wanted(self, actions: Any) -> Array:
        check_is_fitted(self)
        values = check_new_actions(actions, self.action_names_, self._framed)
        if self._action_features is None:
            return values
        return transformed_actions(self._action_features, values, self._supports[0].action_matrix.shape[1])

    def _curve(self, wanted: Array) -> Array:
        total = sum(len(part.phi) for part in self._parts)
        return np.asarray(sum(len(part.phi) / total * part.do_mean(wanted) for part in self._parts))

    def _check_support(self, wanted: Array, table: Any = None) -> None:
        inside = self._supports[0].observed(wanted)
        if inside.all():
            return
        root = float(self.diagnostics_.calibration["root"].iloc[0])
        if root > CALIBRATION_LIMIT:
            self._warn(misses(root))
        beyond = np.flatnonzero(~inside)
        found = support_table(self._supports[0], wanted[beyond]) if table is None else table.iloc[beyond]
        message = poor_support(self._supports[0], wanted, beyond, found)
        if message is None:
            return
        if self.on_unsupported == "raise":
            raise UnsupportedActionError(f"{message} Ask for weaker actions, or pass on_unsupported='warn'.")
        self._warn(f"{message} See support().")

    def _fitted_encoders(self) -> list[Any]:
        return [one for one in self._encoders if isinstance(one, LinearInvarianceEncoder)]

    def _code_holders(self) -> list[Any]:
        return [
            *self._fitted_encoders(),
            *([self.encoder] if isinstance(self.encoder, LinearInvarianceEncoder) else []),
        ]

    def _kept(self, what: str) -> tuple[CurveRows, CurveSettings, list[NDArray[np.intp]]]:
        kept: tuple[CurveRows, CurveSettings, list[NDArray[np.intp]]] | None = getattr(self, "_rows", None)
        if kept is None:
            raise MethodNotApplicableError(
                f"{what}() needs outcomes and features of the fit, which a saved file does not hold: call it before "
                "saving, or fit again."
            )
        return kept


def _baseline_names(names: Sequence[str] | None) -> Sequence[str]:
    if names is None:
        return BASELINES
    given = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in given if name not in BASELINES]
    if unknown:
        raise ValueError(f"names must be among {', '.join(map(repr, BASELINES))}; got {unknown}. Leave them out.")
    return given
