"""Several perceptrons of one shape trained at once, as batched products: the bags of a bagged network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.nn.blocks import check_layer_sizes
from causalkit.nn.device import import_torch, resolve_device, single_threaded
from causalkit.nn.seeds import derived_seed
from causalkit.nn.splits import check_number, validation_split
from causalkit.nn.stacked_training import StackedData, train_stack
from causalkit.nn.training import TrainingOptions
from causalkit.validation import check_choice, check_integer

__all__ = ["StackedMLP", "fit_stacked_mlp"]

Array = NDArray[np.float64]

_FULL_BATCH_ROWS = 10_000
_LARGE_BATCH = 8_192
_ONE_THREAD_ROWS = 100_000
_SPLIT_KEY = 7_101
_BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class StackedMLP:
    """Fitted perceptrons, one per bag, as plain arrays.

    Attributes
    ----------
    weights : tuple of ndarray, shape (B, inputs, outputs) each
        Per layer, with the bag in front; float32.
    biases : tuple of ndarray, shape (B, outputs) each
        Per layer.
    loss : {"squared", "log"}
        What was minimised.
    center : ndarray, shape (k,)
        Added to the scaled outputs ("squared"), or the constant in front of the softmax ("log").
    scale : float
        Factor of the outputs; 1 for "log" and with a multiplier.
    validation_loss : ndarray, shape (B,)
        Loss of each bag on its own validation rows, in the units of the target; NaN without such rows.
    n_iter : ndarray of int, shape (B,)
        Epochs that each bag was trained for.
    loss_curve : tuple of ndarray, shape (n_iter,) each
        Training loss of each bag in each of these epochs.
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    loss: str
    center: Array
    scale: float
    validation_loss: Array
    n_iter: NDArray[np.intp]
    loss_curve: tuple[Array, ...]

    def predict(self, X: NDArray[Any]) -> Array:
        """Mean over bags of the outputs, or of the class probabilities for "log".

        Parameters
        ----------
        X : ndarray, shape (n, p)
            Inputs.

        Returns
        -------
        ndarray, shape (n, k)
            In double precision, so that a row's prediction does not depend on the rows around it.
        """
        matrices = [weight.astype(float) for weight in self.weights]
        biases = [bias.astype(float)[:, None, :] for bias in self.biases]
        out = np.empty((len(X), len(self.center)))
        for start in range(0, len(X), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            hidden = np.asarray(X[rows], dtype=float)
            for number, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
                hidden = (hidden if number == 0 else np.maximum(hidden, 0.0)) @ matrix + bias
            if self.loss == "log":
                hidden = hidden + self.center
                hidden = np.exp(hidden - hidden.max(axis=-1, keepdims=True))
                out[rows] = (hidden / hidden.sum(axis=-1, keepdims=True)).mean(axis=0)
            else:
                out[rows] = self.center + self.scale * hidden.mean(axis=0)
        return out


def fit_stacked_mlp(
    X: NDArray[Any],
    target: NDArray[Any],
    *,
    multiplier: NDArray[Any] | None = None,
    loss: str = "squared",
    n_outputs: int = 1,
    sample_weight: NDArray[Any] | None = None,
    n_bags: int = 3,
    hidden: Sequence[int] = (64, 64),
    max_epochs: int = 400,
    patience: int = 40,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-3,
    batch_size: int | str = "auto",
    validation_fraction: float = 0.2,
    seed: int,
    device: Any = "auto",
    verbose: int = 0,
) -> StackedMLP:
    r"""Train perceptrons of one shape together, each with its own start and its own validation rows.

    With row weights w of mean 1 the losses are

    .. math:: \frac1n\sum_i w_i\Big(y_i - \sum_l m_{il} f_l(x_i)\Big)^2 \qquad\text{("squared")}, \qquad
              -\frac1n\sum_i w_i \log p_{y_i}(x_i) \qquad\text{("log")}.

    Without multipliers m is 1, and the target is centred and scaled by its weighted mean and standard deviation
    over all rows given; predictions are scaled back. With multipliers nothing is scaled. "log" starts from the
    class shares. The output layer starts at zero, so that a bag that learns nothing predicts a constant (zero with
    multipliers), and AdamW moves it from there; the weights of the epoch with the smallest validation loss are
    kept for every bag, the start among them.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Inputs, about standardised.
    target : ndarray, shape (n,)
        Outcome, or class codes 0..k-1 for "log".
    multiplier : ndarray, shape (n,) or (n, k), optional
        Factors of the k outputs, such as treatment residuals.
    loss : {"squared", "log"}, default="squared"
        What to minimise.
    n_outputs : int, default=1
        Outputs k of the network: 1 for "squared" without multiplier, the columns of the multiplier, or the number
        of classes.
    sample_weight : ndarray, shape (n,), optional
        Not negative. Validation rows are drawn among rows of positive weight.
    n_bags : int, default=3
        Number of perceptrons, B.
    hidden : sequence of int, default=(64, 64)
        Widths of the hidden layers; () is a linear model.
    max_epochs, patience : int
        Largest number of epochs; epochs without a relative improvement of 1e-4 after which a bag stops.
    learning_rate, weight_decay : float
        Of AdamW.
    batch_size : int or "auto", default="auto"
        Rows per step; "auto" takes all up to 10,000 rows, 8192 above.
    validation_fraction : float, default=0.2
        Share of the rows that a bag does not train on. 0 trains on all rows for ``max_epochs`` epochs and keeps
        the last weights.
    seed : int
        Key of all draws; torch's global generator is not used.
    device : str or torch.device, default="auto"
        Where to train.
    verbose : int, default=0
        1 shows a progress line.

    Returns
    -------
    StackedMLP

    Raises
    ------
    FloatingPointError
        The loss of a bag is not finite, again after one new start at a third of the learning rate.
    ValueError
        Shapes, codes or options that make no sense.
    DeviceUnavailableError, MissingDependencyError
        No such device; no torch.

    References
    ----------
    Loshchilov & Hutter (2019), Decoupled weight decay regularization, algorithm 2; Nie & Wager (2021), Quasi-oracle
    estimation of heterogeneous treatment effects, equation 4 (the loss with multipliers).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.nn import fit_stacked_mlp
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> fit = fit_stacked_mlp(X, X[:, 0] * X[:, 1], seed=0, max_epochs=100, device="cpu")
    >>> bool(np.corrcoef(fit.predict(X)[:, 0], X[:, 0] * X[:, 1])[0, 1] > 0.9)
    True
    """
    torch = import_torch()
    where = resolve_device(device)
    n_rows = len(X)
    targets, factors, weight, k = _checked(X, target, multiplier, loss, n_outputs, sample_weight)
    options = TrainingOptions.checked(
        max_epochs=max_epochs,
        patience=patience,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=_batch_size(batch_size, n_rows),
    )
    bags = check_integer(n_bags, "n_bags", low=1)
    sizes = (X.shape[1], *check_layer_sizes(hidden, "hidden"), k)
    center, scale = _scaling(targets, factors, loss, weight, k)
    validation = _validation_rows(weight, validation_fraction, bags, seed, targets if loss == "log" else None)
    numbers = targets if loss == "log" else (targets - center[0]) / scale
    with single_threaded() if where.type == "cpu" and n_rows <= _ONE_THREAD_ROWS else nullcontext():
        data = StackedData(
            X=torch.as_tensor(np.asarray(X, dtype=np.float32), device=where),
            target=torch.as_tensor(numbers.astype(np.int64 if loss == "log" else np.float32), device=where),
            multiplier=None if factors is None else torch.as_tensor(factors.astype(np.float32), device=where),
            offset=torch.as_tensor(center.astype(np.float32), device=where) if loss == "log" else None,
            weight=torch.as_tensor(weight.astype(np.float32), device=where),
            validation=torch.as_tensor(validation, device=where),
        )
        state = train_stack(data, sizes, options, seed=seed, verbose=verbose)
    units = scale**2
    return StackedMLP(
        weights=state.weights,
        biases=state.biases,
        loss=loss,
        center=center,
        scale=scale,
        validation_loss=state.validation_loss * units,
        n_iter=state.n_iter,
        loss_curve=tuple(curve * units for curve in state.loss_curve),
    )


def _checked(
    X: NDArray[Any], target: NDArray[Any], multiplier: Any, loss: str, n_outputs: int, sample_weight: Any
) -> tuple[NDArray[Any], Array | None, Array, int]:
    check_choice(loss, "loss", ("squared", "log"))
    k = check_integer(n_outputs, "n_outputs", low=1)
    targets = np.asarray(target)
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    factors = None if multiplier is None else np.asarray(multiplier, dtype=float).reshape(len(X), -1)
    for name, value in (("target", targets), ("sample_weight", weight)):
        if value.shape != (len(X),):
            raise ValueError(f"{name} must have one value per row of X, shape ({len(X)},); got shape {value.shape}.")
    if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.sum() > 0):
        raise ValueError("sample_weight must be finite and not negative, with a positive sum; check it.")
    if loss == "log":
        if factors is not None:
            raise ValueError('multiplier goes with loss="squared" only: pass multiplier=None with loss="log".')
        if k < 2 or targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= k:
            raise ValueError(f"target must hold class codes 0 to n_outputs - 1 = {k - 1} as integers, n_outputs >= 2.")
    elif k != (1 if factors is None else factors.shape[1]):
        expected = "1 without a multiplier" if factors is None else f"the {factors.shape[1]} columns of multiplier"
        raise ValueError(f"n_outputs must be {expected}; got {k}.")
    return targets, factors, weight / weight.mean(), k


def _batch_size(value: Any, n_rows: int) -> int:
    if isinstance(value, str):
        check_choice(value, "batch_size", ("auto",))
        return n_rows if n_rows <= _FULL_BATCH_ROWS else _LARGE_BATCH
    return min(check_integer(value, "batch_size", low=1), n_rows)


def _scaling(targets: NDArray[Any], factors: Array | None, loss: str, weight: Array, k: int) -> tuple[Array, float]:
    if loss == "log":
        shares = np.bincount(targets, weights=weight, minlength=k) / len(targets)
        return np.log(np.maximum(shares, 0.5 / len(targets))), 1.0  # a class without rows: half a row
    if factors is not None:
        return np.zeros(k), 1.0
    center = float(np.average(targets, weights=weight))
    spread = math.sqrt(np.average((targets - center) ** 2, weights=weight))
    return np.array([center]), spread if spread > 0 else 1.0


def _validation_rows(
    weight: Array, fraction: Any, n_bags: int, seed: int, strata: NDArray[np.intp] | None
) -> NDArray[np.bool_]:
    held_out = np.zeros((n_bags, len(weight)), dtype=bool)
    if check_number(fraction, "validation_fraction", above_zero=False) == 0:
        return held_out
    usable = np.flatnonzero(weight > 0)
    codes = None if strata is None else strata[usable]
    for bag in range(n_bags):
        _, chosen = validation_split(len(usable), fraction, derived_seed(seed, _SPLIT_KEY, bag), strata=codes)
        held_out[bag, usable[chosen]] = True
    return held_out
