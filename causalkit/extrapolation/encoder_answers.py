"""What a fitted encoder answers: coordinates of features, tests, reports, its networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import MethodNotApplicableError
from causalkit.extrapolation.actions import ActionScale, check_new_actions
from causalkit.extrapolation.code_parts import CodeParts
from causalkit.extrapolation.encoder_inputs import check_features, transformed_actions
from causalkit.extrapolation.encoder_reports import (
    EncoderDiagnostics,
    diagnose_encoder,
    invariance_of_rows,
    summarise_encoder,
)
from causalkit.extrapolation.invariance import InvarianceTest
from causalkit.extrapolation.sieve_fit import ActionMoments
from causalkit.inference import FitSummary

__all__ = ["EncoderAnswers"]

Array = NDArray[np.float64]


class EncoderAnswers(CodeParts):
    """Questions to a fitted :class:`~causalkit.extrapolation.LinearInvarianceEncoder`."""

    method: str
    basis: Any
    action_features: Any
    n_components_: int
    n_features_in_: int
    action_names_: list[str]
    random_frequencies_: Array
    _model: Any
    _scale: ActionScale
    _shape: tuple[int, ...]

    def inverse_transform(self, Z: Any) -> Any:
        """Features of coordinates, where the method has a decoder."""
        check_is_fitted(self)
        if self.method == "sieve":
            raise MethodNotApplicableError(
                'inverse_transform() needs a decoder, which method="sieve" has not: use method="autoencoder".'
            )
        return self._model.decode(np.asarray(Z, dtype=np.float64))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names ``latent0``, ``latent1``, ..."""
        check_is_fitted(self)
        return np.array([f"latent{j}" for j in range(self.n_components_)], dtype=object)

    def invariance_test(
        self, X: Any = None, *, actions: Any = None, n_bootstrap: int = 499, method: str = "wild"
    ) -> InvarianceTest:
        """Test E[φ | A] = WA + b. A pass is no evidence that φ is affine in the latent variables.

        Parameters
        ----------
        X, actions : array-like, optional
            Rows that did not train the encoder. Without them, a fifth of the rows of ``fit`` that an encoder of the
            same kind, fitted without them, is judged on.
        n_bootstrap : int, default=499
            Draws.
        method : {"wild", "permutation"}, default="wild"
            "permutation" tests independence in the mean direction.

        Returns
        -------
        InvarianceTest
        """
        check_is_fitted(self)
        if (X is None) != (actions is None):
            raise ValueError("X and actions belong together: pass both, or neither for the rows kept from the fit.")
        if X is None:
            phi, standard = self._report_rows("invariance_test")
        else:
            phi, standard = self._model.encode(self._features(X)), self._standard(actions)
            if len(phi) != len(standard):
                raise ValueError(f"X has {len(phi)} rows, but actions has {len(standard)}: pass the same rows to both.")
        functions = ActionMoments(self.random_frequencies_)
        return invariance_of_rows(
            phi, standard, functions, held_out=X is None, n_bootstrap=n_bootstrap, method=method, seed=0
        )

    def diagnostics(self) -> EncoderDiagnostics:
        """Canonical correlations, the invariance test with its visible share, the path, reconstruction."""
        check_is_fitted(self)
        return diagnose_encoder(self)

    def summary(self) -> FitSummary:
        """What was fitted, and the assumptions that it rests on."""
        check_is_fitted(self)
        return summarise_encoder(self)

    @property
    def module_(self) -> Any:
        """Trained encoder network as a torch module."""
        return self._network("module_").module

    @property
    def decoder_(self) -> Any:
        """Trained decoder network as a torch module."""
        return self._network("decoder_").decoder

    # ------------------------------------------------------------------ steps

    def _network(self, what: str) -> Any:
        if self.method == "sieve":
            raise AttributeError(f'{what} belongs to networks, but method="sieve" has none.')
        check_is_fitted(self)
        return self._model.network

    def _features(self, X: Any) -> Any:
        array = check_features(X, any_shape=len(self._shape) > 1 or not isinstance(self.basis, str))
        if len(array) == 0:
            raise ValueError("Found array with 0 sample(s): X is empty; a minimum of 1 row is required.")
        if array.shape[1:] != tuple(self._shape):
            raise ValueError(
                f"X has {array.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input (rows of shape {tuple(self._shape)}, got {array.shape[1:]})."
            )
        names = getattr(self, "feature_names_in_", None)
        if names is not None and hasattr(X, "columns") and list(X.columns) != list(names):
            raise ValueError(
                f"X: The feature names should match those that were passed during fit: expected {list(names)[:5]}, got "
                f"{list(X.columns)[:5]} in this order."
            )
        return array

    def _standard(self, actions: Any) -> Array:
        values = check_new_actions(actions, self.action_names_, from_frame=True)
        if self.action_features is not None:
            values = transformed_actions(self.action_features, values)
        return self._scale.standardised(values)

    def _report_rows(self, what: str) -> tuple[Array, Array]:
        kept: tuple[Array, Array] | None = getattr(self, "_report", None)
        if kept is None:
            raise MethodNotApplicableError(
                f"{what}() without rows needs those that fit kept back, which a saved file does not hold: pass X and "
                "actions."
            )
        return kept
