"""LinearInvarianceEncoder: coordinates of the features on which actions act linearly."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from causalkit.atomic_fit import atomic_fit
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import IdentificationError, WeakInstrumentWarning
from causalkit.extrapolation.encoder_answers import EncoderAnswers
from causalkit.extrapolation.encoder_inputs import EncoderRows, action_moments, encoder_rows
from causalkit.extrapolation.encoder_models import FittedEncoder, action_line, fit_sieve_encoder, report_penalty
from causalkit.extrapolation.encoder_options import (
    check_encoder_options,
    checked_components,
    moment_weighting_of,
    number_or_auto,
)
from causalkit.extrapolation.encoder_reports import weak_direction
from causalkit.extrapolation.sieve_fit import ActionMoments
from causalkit.seeds import root_seed

__all__ = ["LinearInvarianceEncoder"]

Array = NDArray[np.float64]

_LEVEL = 0.01


class LinearInvarianceEncoder(EncoderAnswers, TransformerMixin, DocumentedEstimator):
    r"""Coordinates φ(X) of features whose mean given the action is linear.

    .. math:: E[\phi(X) \mid A] = WA + b

    If the action moves hidden variables linearly, Z = MA + V, the features determine Z, and V has no bounds, then a
    φ of full rank that satisfies the equation is an affine map of Z. "sieve" solves for φ in closed form over functions
    of the features; the other methods train networks that reconstruct the features too, with a penalty that does not
    change if φ is rescaled. All of them end in canonical coordinates: unit variance, ordered by correlation with A.

    Parameters
    ----------
    method : {"sieve", "autoencoder", "variational", "linear_prior"}, default="sieve"
        How φ is found.
    n_components : int or "auto", default="auto"
        d; "auto" counts the canonical correlations that pass Bartlett's test at 1 % on held-out rows.
    basis : {"tanh", "fourier", "identity"} or transformer, default="tanh"
        Functions of the sieve beside the features themselves.
    n_basis : int, default=200
        Number of these functions.
    ridge : float or "auto", default="auto"
        μ of the sieve; "auto" takes the smallest held-out penalty.
    penalty : float or "auto", default="auto"
        λ of the networks; "auto" compares 0, .01, .1, 1, 10, 100 (a hundred times as much with kernel weighting).
    moment_weighting : {"auto", "orthonormal", "kernel"}, default="auto"
        "orthonormal" weights every function of the action alike, "kernel" as the kernel does; "auto" is
        "orthonormal". The kernel mutes odd orders: with two latent variables networks found better coordinates
        without it in every draw (median R² of Z .965 against .93 on five).
    bandwidth : {"median", "mixture"} or float, default="median"
        Of the kernel on standardised actions.
    n_random_features : int, default=128
        Functions of the action, even.
    action_features : callable, optional
        t with (n, k) → (n, k'), where the response to t(A) is known to be linear.
    encoder_module, decoder_module : torch.nn.Module, optional
        For features of any shape: batch → (batch, d), and back.
    hidden_layer_sizes : tuple of int, default=(64, 64, 64)
        Of the networks without modules.
    prior_weight : float, default=1e-3
        Weight of the divergence in "variational".
    initial : {"sieve", None}, default="sieve"
        Whether a network first learns the sieve's coordinates.
    max_steps : int, default=4000
        Steps of a network's training.
    batch_size : int, default=500
        Rows per step.
    learning_rate : float, default=3e-3
        Largest step of the one-cycle schedule.
    early_stopping : bool, default=False
        Whether networks stop before ``max_steps`` when their objective on held-out rows no longer falls, and keep the
        weights that were best there. The schedule of the steps stays that of ``max_steps``.
    validation_fraction : float, default=0.1
        Share of the training rows that are held out for early stopping.
    patience : int, default=10
        Looks at these rows, one in every hundredth of the steps once the penalty has its full weight, without an
        improvement before training stops.
    selection_cv : int, default=3
        Folds for choosing μ.
    n_jobs : int, optional
        Workers for the path of λ.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where networks train.
    random_state : int, RandomState, Generator or None
        Seed.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    n_components_ : int
        d.
    action_matrix_ : ndarray, shape (d, k)
        W, in the units of the actions.
    intercept_ : ndarray, shape (d,)
        b.
    canonical_correlations_ : ndarray, shape (d,)
        Of φ with the actions.
    random_frequencies_ : ndarray, shape (k', D/2)
        Frequencies of the functions of the action.
    projection_ : ndarray, shape (k' + 1, D)
        Least squares of these functions on (1, A), standardised.
    bandwidth_ : float or ndarray
        Used.
    ridge_, penalty_ : float or None
        Used.
    components_ : ndarray, shape (p, d), or None
        Combination of the basis, for the sieve.
    path_, history_ : DataFrame
        Values compared for μ or λ; steps of the training.
    invariance_penalty_ : float
        Q_B on rows that did not train the encoder.
    reconstruction_error_ : float or None
        Share of the features' variance that is not reconstructed, on these rows; None for the sieve.
    n_features_in_, feature_names_in_, action_names_
        What ``fit`` saw.

    Raises
    ------
    IdentificationError
        Actions that every encoder satisfies the equation for, that are collinear, or that do not move the features.
    ValueError, TypeError
        Input that does not fit.

    Warns
    -----
    ExtrapolationWarning, WeakInstrumentWarning, ConvergenceWarning
        Actions on a lattice; a direction that they hardly move; training that had not settled, or a network that loses
        more of the features than as many principal components, whatever the method.

    References
    ----------
    Saengkyongam, Rosenfeld, Ravikumar, Pfister and Peters (2024), arXiv:2310.04295, equation 16 and theorem 6 (linear
    invariance and what it identifies). The closed form, the scale-free penalty and the canonical coordinates are ours.

    Examples
    --------
    >>> from causalkit.datasets import make_intervention_curve
    >>> from causalkit.extrapolation import LinearInvarianceEncoder
    >>> sample = make_intervention_curve(2000, strength=2.0, random_state=0)
    >>> encoder = LinearInvarianceEncoder(n_basis=50, ridge=1e-3, random_state=0)
    >>> phi = encoder.fit_transform(sample.features, actions=sample.actions)
    >>> import numpy as np
    >>> bool(abs(np.corrcoef(phi[:, 0], sample.latent[:, 0])[0, 1]) > 0.95)
    True
    """

    _not_saved = ("_report",)

    def __init__(
        self,
        *,
        method: str = "sieve",
        n_components: Any = "auto",
        basis: Any = "tanh",
        n_basis: int = 200,
        ridge: Any = "auto",
        penalty: Any = "auto",
        moment_weighting: str = "auto",
        bandwidth: Any = "median",
        n_random_features: int = 128,
        action_features: Any = None,
        encoder_module: Any = None,
        decoder_module: Any = None,
        hidden_layer_sizes: Any = (64, 64, 64),
        prior_weight: float = 1e-3,
        initial: Any = "sieve",
        max_steps: int = 4000,
        batch_size: int = 500,
        learning_rate: float = 3e-3,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        selection_cv: int = 3,
        n_jobs: int | None = None,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.n_components = n_components
        self.basis = basis
        self.n_basis = n_basis
        self.ridge = ridge
        self.penalty = penalty
        self.moment_weighting = moment_weighting
        self.bandwidth = bandwidth
        self.n_random_features = n_random_features
        self.action_features = action_features
        self.encoder_module = encoder_module
        self.decoder_module = decoder_module
        self.hidden_layer_sizes = hidden_layer_sizes
        self.prior_weight = prior_weight
        self.initial = initial
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.selection_cv = selection_cv
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------ fit

    def fit(
        self, X: Any, y: Any = None, *, actions: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> LinearInvarianceEncoder:
        """Find the coordinates.

        Parameters
        ----------
        X : array-like or frame, shape (n, m), or array of shape (n, ...) with modules
            Features.
        y : object
            Ignored: the outcome is not looked at.
        actions : array-like or frame, shape (n, k)
            Exogenous actions.
        sample_weight : array-like, shape (n,), optional
            Weights.
        groups : array-like, shape (n,), optional
            Clusters that splits do not divide.
        """
        with atomic_fit(self):
            check_encoder_options(self)
            seed = root_seed(self.random_state)
            rows = encoder_rows(
                X,
                actions,
                action_features=self.action_features,
                sample_weight=sample_weight,
                groups=groups,
                selection_cv=self.selection_cv,
                any_shape=self.encoder_module is not None or not isinstance(self.basis, str),
                seed=seed,
            )
            functions, self.bandwidth_ = action_moments(rows, self.bandwidth, self.n_random_features, seed)
            fitted = self._fitted(rows, functions, checked_components(self.n_components, rows), seed)
            self._store(X, rows, functions, fitted)
            self._judge(fitted)
        return self

    def fit_transform(
        self, X: Any, y: Any = None, *, actions: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Array:
        """Fit, and return the coordinates of the same rows."""
        return self.fit(X, y, actions=actions, sample_weight=sample_weight, groups=groups).transform(X)

    def transform(self, X: Any) -> Array:
        """Canonical coordinates φ(X), shape (n, d)."""
        check_is_fitted(self)
        return np.asarray(self._model.encode(self._features(X)))

    def _fitted(self, rows: EncoderRows, functions: ActionMoments, d: int | None, seed: int) -> FittedEncoder:
        if self.method == "sieve":
            return fit_sieve_encoder(
                rows,
                functions,
                n_components=d,
                basis=self.basis,
                n_basis=self.n_basis,
                ridge=number_or_auto(self.ridge, "ridge"),
                weighting=moment_weighting_of(self),
                seed=seed,
            )
        from causalkit.extrapolation.network_fit import fit_network_encoder

        return fit_network_encoder(self, rows, functions, d, seed)

    def _store(self, X: Any, rows: EncoderRows, functions: ActionMoments, fitted: FittedEncoder) -> None:
        import pandas as pd

        self._model = fitted.model
        phi = fitted.model.encode(rows.X)
        self.n_components_ = phi.shape[1]
        self.action_matrix_, self.intercept_, _ = action_line(phi, rows.actions, rows.weight)
        self.canonical_correlations_ = fitted.correlations
        self.random_frequencies_ = functions.frequencies
        self.projection_ = functions.projection(rows.standard, rows.weight)
        sieve = self.method == "sieve"
        self.ridge_: float | None = fitted.tuning if sieve else None
        self.penalty_: float | None = None if sieve else fitted.tuning
        self.components_ = fitted.model.map.directions if sieve else None
        self.path_, self.history_ = pd.DataFrame(fitted.path), pd.DataFrame(fitted.history)
        self._report = (fitted.report_phi, rows.standard[rows.report])
        self._scale, self._test = rows.scale, fitted.test
        self.invariance_penalty_ = report_penalty(fitted.report_phi, rows.standard[rows.report], functions)
        self.reconstruction_error_ = (
            None if sieve else float(fitted.model.network.reconstruction_error(rows.X[rows.report]))
        )
        self._shape = rows.X.shape[1:]
        self.n_features_in_ = int(np.prod(self._shape))
        self.action_names_ = rows.names
        self._framed = hasattr(X, "columns")
        names = np.asarray(X.columns, dtype=object) if self._framed else np.empty(0, dtype=object)
        if hasattr(self, "feature_names_in_"):
            delattr(self, "feature_names_in_")
        if len(names) and all(isinstance(name, str) for name in names):
            self.feature_names_in_: NDArray[np.object_] = names

    def _judge(self, fitted: FittedEncoder) -> None:
        test = fitted.test
        if test.passed(_LEVEL) == 0 and isinstance(self.n_components, str):
            raise IdentificationError(
                f"the actions do not move the features: the largest canonical correlation on held-out rows is "
                f"{test.correlations[0]:.3g} (p = {test.pvalues[0]:.2g}). Stronger actions or other features are needed"
            )
        message = weak_direction(test)
        if message is not None:
            warnings.warn(message, WeakInstrumentWarning, stacklevel=3)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "action_matrix_")
