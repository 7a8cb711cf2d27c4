"""LinearInvarianceEncoder: coordinates of the features on which actions act linearly."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from causalkit._crossfit_tasks import root_seed
from causalkit.atomic_fit import atomic_fit
from causalkit.exceptions import IdentificationError, MethodNotApplicableError, WeakInstrumentWarning
from causalkit.extrapolation.actions import check_new_actions
from causalkit.extrapolation.components import CanonicalTest
from causalkit.extrapolation.encoder_inputs import (
    EncoderRows,
    action_moments,
    check_features,
    encoder_rows,
    transformed_actions,
)
from causalkit.extrapolation.encoder_models import (
    FittedEncoder,
    action_line,
    fit_sieve_encoder,
    most_components,
    report_penalty,
)
from causalkit.extrapolation.encoder_reports import EncoderDiagnostics, EncoderSummary, summarise_encoder
from causalkit.extrapolation.invariance import InvarianceTest, visible_share_spectrum, wild_bootstrap_pvalue
from causalkit.extrapolation.penalty import project_off_actions
from causalkit.extrapolation.sieve_fit import ActionMoments
from causalkit.validation import check_choice, check_integer

if TYPE_CHECKING:
    pass

__all__ = ["LinearInvarianceEncoder", "weak_direction"]

Array = NDArray[np.float64]

METHODS = ("sieve", "autoencoder", "variational", "linear_prior")
_LEVEL = 0.01


class LinearInvarianceEncoder(TransformerMixin, BaseEstimator):
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
        λ of the networks; "auto" compares 0, 1, 10, ..., 10⁴.
    moment_weighting : {"auto", "orthonormal", "kernel"}, default="auto"
        "orthonormal" weights every function of the action alike, the default of the sieve; "kernel" as the kernel does,
        the default of the networks. The kernel mutes odd orders: with two latent variables or more, networks find
        better coordinates with "orthonormal" and a penalty near 1.
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
    selection_cv : int, default=3
        Folds for choosing μ.
    n_jobs : int, optional
        Workers for the path of λ.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where networks train.
    random_state : int, RandomState or None
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
        Actions on a lattice; a direction that they hardly move; training that had not settled.

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
            self._check_options()
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
            fitted = self._fitted(rows, functions, self._components(rows), seed)
            self._store(X, rows, functions, fitted)
            self._judge(fitted)
        return self

    def _check_options(self) -> None:
        check_choice(self.method, "method", METHODS)
        check_choice(self.moment_weighting, "moment_weighting", ("auto", "orthonormal", "kernel"))
        check_choice(self.initial, "initial", ("sieve", None))
        check_integer(self.n_basis, "n_basis", low=1)
        for name in ("ridge", "penalty"):
            _number_or_auto(getattr(self, name), name)
        if _number_or_auto(self.prior_weight, "prior_weight") is None:
            raise ValueError('prior_weight must be a number of at least 0; got "auto".')

    def _components(self, rows: EncoderRows) -> int | None:
        if isinstance(self.n_components, str):
            check_choice(self.n_components, "n_components", ("auto",))
            return None
        d = check_integer(self.n_components, "n_components", low=1)
        k, m = rows.actions.shape[1], int(np.prod(rows.X.shape[1:]))
        if d > most_components(rows):
            raise ValueError(
                f"n_components={d} is more than {k} actions (rank {k}) or {m} features allow: every latent direction "
                f"must be moved by an action of its own. Pass at most {most_components(rows)}."
            )
        return d

    def _fitted(self, rows: EncoderRows, functions: ActionMoments, d: int | None, seed: int) -> FittedEncoder:
        weighting = self.moment_weighting
        if self.method == "sieve":
            return fit_sieve_encoder(
                rows,
                functions,
                n_components=d,
                basis=self.basis,
                n_basis=self.n_basis,
                ridge=_number_or_auto(self.ridge, "ridge"),
                weighting="orthonormal" if weighting == "auto" else weighting,
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
        _, self.projection_ = project_off_actions(functions.values(rows.standard), rows.standard, rows.weight)
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

    # ------------------------------------------------------------------ use

    def transform(self, X: Any) -> Array:
        """Canonical coordinates φ(X), shape (n, d)."""
        check_is_fitted(self)
        return np.asarray(self._model.encode(self._features(X)))

    def fit_transform(
        self, X: Any, y: Any = None, *, actions: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Array:
        """Fit, and return the coordinates of the same rows."""
        return self.fit(X, y, actions=actions, sample_weight=sample_weight, groups=groups).transform(X)

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
            phi, standard = self.transform(X), self._standard(actions)
            if len(phi) != len(standard):
                raise ValueError(f"X has {len(phi)} rows, but actions has {len(standard)}: pass the same rows to both.")
        functions = ActionMoments(self.random_frequencies_)
        projected, _ = project_off_actions(functions.values(standard), standard)
        _, _, residual = action_line(phi, standard, None)
        statistic, pvalue = wild_bootstrap_pvalue(
            residual, projected, n_bootstrap=n_bootstrap, method=method, rng=np.random.default_rng(0)
        )
        visible = visible_share_spectrum(phi, standard, projected)
        return InvarianceTest(statistic, pvalue, n_bootstrap, method, len(phi), X is None, visible)

    def diagnostics(self) -> EncoderDiagnostics:
        """Canonical correlations, the invariance test with its visible share, the path, reconstruction."""
        import pandas as pd

        check_is_fitted(self)
        table = pd.DataFrame(
            {"correlation": self._test.correlations, "pvalue": self._test.pvalues},
            index=pd.Index([f"latent{j}" for j in range(len(self._test.pvalues))], name="direction"),
        )
        return EncoderDiagnostics(
            table, self.invariance_test(), self.path_, self.invariance_penalty_, self.reconstruction_error_
        )

    def summary(self) -> EncoderSummary:
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

    def attach_modules(self, encoder_module: Any = None, decoder_module: Any = None) -> LinearInvarianceEncoder:
        """Put modules of your own back after loading: they are code, so a file holds their weights only.

        Parameters
        ----------
        encoder_module, decoder_module : torch.nn.Module, optional
            Of the structure that was fitted.
        """
        network = self._network("attach_modules").with_modules(encoder_module, decoder_module)
        self._model = replace(self._model, network=network)
        return self

    # ------------------------------------------------------------------ steps

    def _network(self, what: str) -> Any:
        if self.method == "sieve":
            raise AttributeError(f'{what} belongs to networks, but method="sieve" has none.')
        check_is_fitted(self)
        return self._model.network

    def _features(self, X: Any) -> Any:
        array = check_features(X, any_shape=len(self._shape) > 1 or not isinstance(self.basis, str))
        if array.shape[1:] != tuple(self._shape):
            raise ValueError(
                f"X has {array.shape[1]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input (rows of shape {tuple(self._shape)}, got {array.shape[1:]})."
            )
        names = getattr(self, "feature_names_in_", None)
        if names is not None and hasattr(X, "columns") and list(X.columns) != list(names):
            raise ValueError(
                f"The feature names should match those that were passed during fit: expected {list(names)[:5]}, got "
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

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "action_matrix_")


def weak_direction(test: CanonicalTest) -> str | None:
    """What is said of a direction that the actions hardly move, if there is one."""
    passed = test.passed(_LEVEL)
    if passed == len(test.pvalues):
        return None
    remedy = (
        f"Lower n_components to {passed}" if passed > 0 else "Stronger actions, other features or more rows are needed"
    )
    return (
        f"direction {len(test.pvalues)} is hardly moved by the actions: canonical correlation "
        f"{test.correlations[-1]:.3g} on held-out rows (p = {test.pvalues[-1]:.2g}). {remedy}."
    )


def _number_or_auto(value: Any, name: str) -> float | None:
    """A number of at least 0, or None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    ok = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not ok or not np.isfinite(value) or value < 0:
        raise ValueError(f'{name} must be "auto" or a number of at least 0; got {value!r}.')
    return float(value)
