r"""Autoencoders whose code is linear in the action on average.

.. math:: \min_{\phi, g}\; E\|X - g(\phi(X))\|^2/m + \lambda\,Q_B(\phi)

The reconstruction keeps the code injective, the penalty of :func:`causalkit.extrapolation.invariance_penalty` makes
:math:`E[\phi(X)\mid A]` linear in A. "Any type of autoencoder" may be combined with such a penalty (Saengkyongam,
Rosenfeld, Ravikumar, Pfister and Peters 2024); its whitened form and the two-batch form are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.autoencoder_data import TrainingData
from causalkit.extrapolation.autoencoder_networks import block_rows, check_module, leaky_perceptron
from causalkit.extrapolation.autoencoder_stopping import StoppingRule
from causalkit.extrapolation.autoencoder_training import PlainObjective, TrainingPlan, run_steps
from causalkit.extrapolation.fitted_autoencoder import FittedAutoencoder
from causalkit.nn import arrays_of_module, import_torch, resolve_device, torch_generator
from causalkit.nn.blocks import check_layer_sizes
from causalkit.nn.splits import check_number
from causalkit.validation import check_choice, check_integer

__all__ = ["AutoencoderPlan", "FittedAutoencoder", "fit_autoencoder", "needs_two_batches"]

Array = NDArray[np.float64]

METHODS = ("autoencoder", "variational", "linear_prior")
_WEIGHTS_KEY = 7_305
_FIRST_LOG_SD = -2.0
_SMALLEST_BATCH, _LARGEST_RATIO = 500, 0.2


@dataclass(frozen=True, kw_only=True)
class AutoencoderPlan:
    """How to fit an autoencoder.

    Attributes
    ----------
    method : {"autoencoder", "variational", "linear_prior"}
        Deterministic code; normal posterior with a standard normal prior; normal posterior with a prior whose mean is
        linear in the action (needs Pyro).
    n_components : int
        d.
    penalty : float
        λ.
    encoder_module, decoder_module : torch.nn.Module or None
        From a batch of features to (b, d), and back. None are perceptrons, for features of two axes.
    hidden_layer_sizes : tuple of int
        Of both perceptrons, reversed in the decoder.
    prior_weight : float
        β of the variational code. Noise in the code attenuates what is regressed on it, so keep it small.
    max_steps : int
        Steps.
    batch_size : int
        Rows of a batch.
    learning_rate : float
        Peak of the one-cycle schedule of Adam.
    device : str or torch.device
        Where to train.
    seed : int
        Key of all draws.
    verbose : int
        1 shows a progress line.
    early_stopping : bool
        Whether to stop by rows that are not trained on, and to keep the best weights.
    validation_fraction, patience : float, int
        See :class:`causalkit.extrapolation.autoencoder_stopping.StoppingRule`.
    """

    method: str = "autoencoder"
    n_components: int
    penalty: float
    encoder_module: Any = None
    decoder_module: Any = None
    hidden_layer_sizes: tuple[int, ...] = (64, 64, 64)
    prior_weight: float = 1e-3
    max_steps: int = 4000
    batch_size: int = 500
    learning_rate: float = 3e-3
    device: Any = "auto"
    seed: int = 0
    verbose: int = 0
    early_stopping: bool = False
    validation_fraction: float = 0.1
    patience: int = 10

    @property
    def stopping(self) -> StoppingRule | None:
        """When to stop early, or None."""
        return StoppingRule.checked(
            early_stopping=self.early_stopping,
            validation_fraction=self.validation_fraction,
            patience=self.patience,
        )

    def checked(self) -> AutoencoderPlan:
        """The plan with plain numbers; refuses values that make no sense."""
        check_choice(self.method, "method", METHODS)
        return replace(
            self,
            n_components=check_integer(self.n_components, "n_components", low=1),
            penalty=check_number(self.penalty, "penalty", above_zero=False),
            hidden_layer_sizes=check_layer_sizes(self.hidden_layer_sizes),
            prior_weight=check_number(self.prior_weight, "prior_weight", above_zero=False),
            max_steps=check_integer(self.max_steps, "max_steps", low=1),
            batch_size=check_integer(self.batch_size, "batch_size", low=1),
            learning_rate=check_number(self.learning_rate, "learning_rate", above_zero=True),
            seed=check_integer(self.seed, "seed", low=0),
        )


def needs_two_batches(penalty: float, batch_size: int, n_moments: int = 1) -> bool:
    """Whether the V-statistic of a batch would penalise the residual's variance too much.

    Its bias is λ E‖u(A)‖²/B times the variance of the residual, u being the functions of the action. Those of the
    kernel have E‖u‖² below 1, q orthonormal ones have q. It is used up to a bias of .2 and from B = 500 on.
    """
    biased = penalty * n_moments / batch_size > _LARGEST_RATIO
    return penalty > 0 and (batch_size < _SMALLEST_BATCH or biased)


def fit_autoencoder(
    X: NDArray[Any],
    actions: Array,
    frequencies: Array,
    projection: Array,
    plan: AutoencoderPlan,
    *,
    sample_weight: Array | None = None,
    initial: Array | None = None,
    moments: Array | None = None,
    groups: NDArray[np.intp] | None = None,
) -> FittedAutoencoder:
    r"""Fit an autoencoder with the invariance penalty.

    .. math:: \frac{1}{nm}\sum_i\|x_i - g(\phi(x_i))\|^2 + \lambda\,Q_B(\phi)

    λ is zero in the first 5 % of the steps and rises over the next 20 %. For "variational" the decoder sees a noisy
    code and β times its divergence from N(0, I) is added; "linear_prior" maximises the evidence bound of
    :math:`z \sim N(Wa + b, \Sigma)`, :math:`x \sim N(g(z), s^2I)`, and λ Q_B on top unless λ = 0.

    Parameters
    ----------
    X : ndarray, shape (n, ...)
        Features, finite; may be a memory map. Each entry is centred, and all are divided by one standard deviation.
    actions : ndarray, shape (n, k)
        Standardised actions.
    frequencies : ndarray, shape (k, D/2)
        ω of :func:`causalkit.extrapolation.random_fourier_features`.
    projection : ndarray, shape (k + 1, D)
        G of :func:`causalkit.extrapolation.project_off_actions`.
    plan : AutoencoderPlan
        How to fit.
    sample_weight : ndarray, shape (n,), optional
        Weights of the rows.
    initial : ndarray, shape (n, d), optional
        Code that the encoder is drawn to in the first 5 % of the steps, beside the reconstruction.
    moments : ndarray, shape (D, q), optional
        Combinations of the columns of F⊥ that take their place, such as those of
        :func:`causalkit.extrapolation.penalty.orthonormal_moments`; they weigh moments of higher order, and the bias of
        one batch, more.
    groups : ndarray of int, shape (n,), optional
        Clusters that early stopping does not divide.

    Returns
    -------
    FittedAutoencoder

    Raises
    ------
    ValueError
        Parameters out of range; features of more than two axes without modules; modules that give other shapes or
        numbers that are not finite; features that do not vary.
    FloatingPointError
        Training diverged.
    MissingDependencyError
        Torch is missing, or Pyro for "linear_prior".
    DeviceUnavailableError
        The device does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.extrapolation import project_off_actions, random_fourier_features
    >>> from causalkit.extrapolation.autoencoders import AutoencoderPlan, fit_autoencoder
    >>> rng = np.random.default_rng(0)
    >>> actions = rng.uniform(-1, 1, (600, 1))
    >>> X = np.tanh((2 * actions + rng.normal(size=(600, 1))) * [0.3, 0.6, 0.9])
    >>> frequencies = rng.normal(size=(1, 8))
    >>> _, projection = project_off_actions(random_fourier_features(actions, frequencies), actions)
    >>> plan = AutoencoderPlan(n_components=1, penalty=10.0, hidden_layer_sizes=(8,), max_steps=20, device="cpu")
    >>> fitted = fit_autoencoder(X, actions, frequencies, projection, plan)
    >>> fitted.encode(X).shape, fitted.decode(fitted.encode(X)).shape, fitted.unbiased
    ((600, 1), (600, 3), False)
    """
    plan, stopping = plan.checked(), plan.stopping
    import_torch()
    device = resolve_device(plan.device)
    _check_shapes(X, plan)
    centre, scale = feature_scaling(X, sample_weight)
    data = TrainingData(X, centre, scale, actions, frequencies, projection, sample_weight, initial, device, moments)
    objective = _objective(plan, data)
    if stopping is not None:
        data.hold_out(*stopping.split(data.rows, groups, plan.seed))
    n_rows = len(data.rows)
    n_moments = 1 if moments is None else moments.shape[1]
    unbiased = needs_two_batches(plan.penalty, min(plan.batch_size, n_rows), n_moments)
    training = TrainingPlan(
        penalty=plan.penalty,
        max_steps=plan.max_steps,
        batch_size=max(1, min(plan.batch_size, n_rows // 2 if unbiased else n_rows)),
        learning_rate=plan.learning_rate,
        unbiased=unbiased,
        seed=plan.seed,
        verbose=plan.verbose,
        foreign=plan.method == "linear_prior" or plan.encoder_module is not None or plan.decoder_module is not None,
        patience=None if stopping is None else stopping.patience,
    )
    trace = run_steps(objective, data, training)
    own = (plan.encoder_module is not None, plan.decoder_module is not None)
    return FittedAutoencoder(
        method=plan.method,
        n_components=plan.n_components,
        centre=centre,
        scale=scale,
        encoder_weights=_first_outputs(arrays_of_module(objective.encoder), plan, own[0]),
        decoder_weights=arrays_of_module(objective.decoder),
        encoder_module=objective.encoder.cpu() if own[0] else None,
        decoder_module=objective.decoder.cpu() if own[1] else None,
        own_modules=own,
        history=trace.history,
        unbiased=unbiased,
        settled=trace.settled,
        prior=objective.prior() if plan.method == "linear_prior" else {},
        device=str(device),
    )


def feature_scaling(X: NDArray[Any], sample_weight: Array | None = None) -> tuple[Array, float]:
    """Mean of each entry, and one standard deviation over rows and entries; two passes over blocks of rows."""
    weight = np.full(len(X), 1 / len(X)) if sample_weight is None else sample_weight / sample_weight.sum()
    step = block_rows(X.shape[1:])
    starts = range(0, len(X), step)
    centre = sum(
        (np.tensordot(weight[a : a + step], np.asarray(X[a : a + step], dtype=float), 1) for a in starts),
        np.zeros(X.shape[1:]),
    )
    variance = 0.0
    for a in starts:
        gap = np.asarray(X[a : a + step], dtype=float) - centre
        variance += float(weight[a : a + step] @ np.square(gap).reshape(len(gap), -1).mean(axis=1))
    largest = float(np.abs(centre).max(initial=0.0))
    if not variance > (1e-12 * largest) ** 2:
        raise ValueError("X does not vary: all features are constant, so there is nothing to encode.")
    return np.asarray(centre), math.sqrt(variance)


def _check_shapes(X: NDArray[Any], plan: AutoencoderPlan) -> None:
    for name in ("encoder_module", "decoder_module"):
        if X.ndim > 2 and getattr(plan, name) is None:
            raise ValueError(
                f"{name} is missing: X has shape {X.shape}, and the perceptrons take features of shape (n, m) only. "
                f'Pass a torch module for each direction; method="{plan.method}" needs both.'
            )


def _objective(plan: AutoencoderPlan, data: TrainingData) -> Any:
    torch = import_torch()
    noisy = plan.method != "autoencoder"
    d, shape = plan.n_components, data.source.shape[1:]
    generator = torch_generator(plan.seed, _WEIGHTS_KEY)
    sizes = plan.hidden_layer_sizes
    log_sd = None
    rows = data.features(slice(0, 64))
    if plan.encoder_module is not None:
        encoder = check_module(plan.encoder_module, "encoder_module", rows, (d,), data.device)
        log_sd = torch.full((d,), _FIRST_LOG_SD, device=data.device, requires_grad=True) if noisy else None
    else:
        encoder = leaky_perceptron((shape[0], *sizes, 2 * d if noisy else d), generator)
        if noisy:  # a code that is nearly free of noise at first, or the decoder ignores it
            with torch.no_grad():
                encoder[-1].bias[d:] += _FIRST_LOG_SD
        encoder = encoder.to(data.device)
    if plan.decoder_module is not None:
        with torch.no_grad():
            codes = encoder.eval()(rows)[:, :d]
        decoder = check_module(plan.decoder_module, "decoder_module", codes, tuple(shape), data.device)
    else:
        decoder = leaky_perceptron((d, *reversed(sizes), shape[0]), generator).to(data.device)
    if plan.method == "linear_prior":
        from causalkit.extrapolation.linear_prior import LinearPriorObjective

        return LinearPriorObjective(encoder, decoder, d, data.actions.shape[1], log_sd=log_sd, device=data.device)
    weight = plan.prior_weight if plan.method == "variational" else None
    return PlainObjective(encoder, decoder, d, log_sd=log_sd, prior_weight=weight)


def _first_outputs(weights: dict[str, NDArray[Any]], plan: AutoencoderPlan, own: bool) -> dict[str, NDArray[Any]]:
    """Weights of the mean alone: a perceptron with noise gives the code's scale as well."""
    if own or plan.method == "autoencoder":
        return weights
    last = max(int(name.partition(".")[0]) for name in weights)
    cut = {f"{last}.{part}": weights[f"{last}.{part}"][: plan.n_components].copy() for part in ("weight", "bias")}
    return {**weights, **cut}
