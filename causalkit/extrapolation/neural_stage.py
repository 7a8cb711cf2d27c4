r"""A second stage with networks, for representations of more coordinates than splines can carry."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.atomic_fit import atomic_fit
from causalkit.extrapolation.control_function import ControlFunction, stage_rows
from causalkit.nn import (
    TrainingOptions,
    arrays_of_module,
    import_torch,
    make_mlp,
    mlp_outputs,
    resolve_device,
    single_threaded,
    torch_generator,
    train_module,
    validation_split,
)
from causalkit.nn.blocks import check_layer_sizes
from causalkit.seeds import root_seed
from causalkit.validation import check_integer

__all__ = ["NeuralControlFunction", "NeuralFit"]

Array = NDArray[np.float64]

_BATCH_ROWS = 500
_RATE, _DECAY = 3e-3, 1e-4
_VALIDATION_SHARE = 0.15
_PATIENCE_STEPS = 400
_FEWEST_ROWS = 10
_SMALLEST_DIRECTION = 1e-12
_START_KEY, _SPLIT_KEY = 7_401, 7_402


@dataclass(frozen=True, eq=False)
class Whitening:
    """x ↦ (x - center) @ rotation, of unit covariance over the rows of the fit.

    Attributes
    ----------
    center : ndarray, shape (d,)
    rotation : ndarray, shape (d, d)
    """

    center: Array
    rotation: Array

    @classmethod
    def of(cls, points: Array, w: Array) -> Whitening:
        """Whitening of points (n, d) with weights of mean 1."""
        center = w @ points / len(points)
        values, vectors = np.linalg.eigh(((points - center) * w[:, None]).T @ (points - center) / len(points))
        # A direction without spread would be divided by zero; it stays near zero instead.
        floor = max(float(values[-1]) * _SMALLEST_DIRECTION, np.finfo(float).tiny)
        return cls(center, vectors / np.sqrt(np.maximum(values, floor)))

    def __call__(self, points: Array) -> Array:
        return (points - self.center) @ self.rotation


@dataclass(frozen=True, eq=False)
class NeuralFit:
    """Both networks as arrays.

    Attributes
    ----------
    structural, control : dict of str to ndarray
        Weights of ν and ψ, see :func:`causalkit.nn.mlp_outputs`.
    whiten_phi, whiten_residual : Whitening
        What the inputs go through.
    scale : float
        Standard deviation of the outcome, which outputs are multiplied with.
    offsets : tuple of float
        Added to ν and ψ: over the rows of the fit ν has mean ȳ and ψ mean 0.
    """

    structural: dict[str, NDArray[Any]]
    control: dict[str, NDArray[Any]]
    whiten_phi: Whitening
    whiten_residual: Whitening
    scale: float
    offsets: tuple[float, float]

    def nu(self, points: Array) -> Array:
        """ν at points (n, d)."""
        return self.scale * mlp_outputs(self.structural, self.whiten_phi(points))[:, 0] + self.offsets[0]

    def psi(self, points: Array) -> Array:
        """ψ at residuals (n, d)."""
        return self.scale * mlp_outputs(self.control, self.whiten_residual(points))[:, 0] + self.offsets[1]


class NeuralControlFunction(ControlFunction):
    r"""Additive control function with two networks that are trained together.

    .. math:: \min_{\nu,\psi} n^{-1}\sum_i w_i\{y_i - \nu(\phi_i) - \psi(R_i)\}^2

    ν and ψ are perceptrons with rectifiers, straight beyond the data, on whitened inputs. Training stops when the loss
    on 15 % of the rows no longer falls. ψ is centred to mean 0 and ν to the mean of y over the rows of the fit.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Of both networks.
    max_steps : int, default=3000
        Most steps, of at most 500 rows each.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to train.
    random_state : int, RandomState, Generator or None
        Seed.

    Attributes
    ----------
    fit_ : NeuralFit
        Both networks as arrays: predictions need no torch.
    n_steps_ : int
        Steps taken.
    loss_curve_, validation_curve_ : ndarray, shape (e,)
        Mean squared errors of every epoch, in units of the variance of y.
    n_features_in_ : int
        d.

    Raises
    ------
    ValueError
        Input that does not fit, fewer than ten rows, parameters out of range.
    DeviceUnavailableError, MissingDependencyError
        A device that is not there; torch is not installed.

    References
    ----------
    Newey, Powell and Vella (1999), Econometrica 67 (control functions); Saengkyongam, Rosenfeld, Ravikumar, Pfister and
    Peters (2024), arXiv:2310.04295 (networks as control functions of a representation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.extrapolation import NeuralControlFunction
    >>> rng = np.random.default_rng(0)
    >>> action, hidden = rng.uniform(-1, 1, (500, 1)), rng.normal(size=(500, 1))
    >>> phi = 2 * action + hidden
    >>> y = phi[:, 0] + hidden[:, 0] + 0.1 * rng.normal(size=500)
    >>> model = NeuralControlFunction(hidden_layer_sizes=(16,), max_steps=300, random_state=0).fit(phi, hidden, y)
    >>> bool(abs(model.structural([[1.0]])[0] - model.structural([[0.0]])[0] - 1) < 0.2)
    True
    """

    def __init__(
        self,
        *,
        hidden_layer_sizes: Any = (64, 64),
        max_steps: int = 3000,
        device: Any = "auto",
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.max_steps = max_steps
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        phi: Any,
        residual: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        moments: Array | None = None,
        calibration: float = 0.0,
    ) -> NeuralControlFunction:
        r"""Train both networks.

        Parameters
        ----------
        phi : array-like, shape (n, d)
            Representation.
        residual : array-like, shape (n, d)
            R = φ - WA - b.
        y : array-like, shape (n,)
            Outcome.
        sample_weight : array-like, shape (n,), optional
            Weights.
        moments : ndarray, shape (n, D), optional
            Functions f of the action for the calibration term.
        calibration : float, default=0.0
            λ_c of :math:`\lambda_c|n^{-1}\sum_i w_i(e_i - \bar e)(f_i - \bar f)|^2` with e = y - ν(φ). A step takes the
            inner product of the moments of two halves of its rows, which has no bias from single rows.
        """
        points, errors, outcome, w = stage_rows(phi, residual, y, sample_weight)
        sizes = check_layer_sizes(self.hidden_layer_sizes)
        steps = check_integer(self.max_steps, "max_steps", low=1)
        if int((w > 0).sum()) < _FEWEST_ROWS:
            raise ValueError(
                f"phi has {int((w > 0).sum())} rows of positive weight: expected at least {_FEWEST_ROWS} to train on "
                "and to stop by. Pass more rows."
            )
        with atomic_fit(self):
            rows = _Rows.of(points, errors, outcome, w, moments if calibration > 0 else None, float(calibration))
            found = _train(rows, sizes, steps, resolve_device(self.device), root_seed(self.random_state))
            self.fit_, self.loss_curve_, self.validation_curve_, self.n_steps_ = found
            self.n_features_in_ = points.shape[1]
        return self


@dataclass(frozen=True, eq=False)
class _Rows:
    """Whitened rows in units of the outcome's spread, with what leads back."""

    phi: Array
    residual: Array
    y: Array
    w: Array
    moments: Array | None
    calibration: float
    whiten_phi: Whitening
    whiten_residual: Whitening
    mean: float
    scale: float

    @classmethod
    def of(cls, phi: Array, residual: Array, y: Array, w: Array, moments: Array | None, calibration: float) -> _Rows:
        first, second = Whitening.of(phi, w), Whitening.of(residual, w)
        mean = float(w @ y / len(y))
        spread = float(np.sqrt(w @ (y - mean) ** 2 / len(y)))
        scale = spread if spread > 0 else 1.0
        centred = None if moments is None else moments - w @ moments / len(y)
        standard = (y - mean) / scale
        return cls(first(phi), second(residual), standard, w, centred, calibration, first, second, mean, scale)


def _train(
    rows: _Rows, sizes: tuple[int, ...], max_steps: int, device: Any, seed: int
) -> tuple[NeuralFit, Array, Array, int]:
    torch = import_torch()
    d = rows.phi.shape[1]
    nets = [make_mlp((d, *sizes, 1), torch_generator(seed, _START_KEY, part)) for part in range(2)]
    module = torch.nn.ModuleList(nets).to(device)
    positive = np.flatnonzero(rows.w > 0)
    training, held = (positive[part] for part in validation_split(len(positive), _VALIDATION_SHARE, seed + _SPLIT_KEY))
    per_epoch = -(-len(training) // _BATCH_ROWS)
    options = TrainingOptions.checked(
        max_epochs=max(1, max_steps // per_epoch),
        batch_size=_BATCH_ROWS,
        learning_rate=_RATE,
        weight_decay=_DECAY,
        patience=max(10, _PATIENCE_STEPS // per_epoch),
    )
    batch_loss, validation_loss = _losses(rows, held, device)
    with single_threaded() if device.type == "cpu" else nullcontext():
        record = train_module(
            module,
            torch.as_tensor(training),
            batch_loss,
            options,
            seed=seed,
            validation_loss=validation_loss,
            label="control function",
        )
    weights = [arrays_of_module(net) for net in nets]
    n = len(rows.y)
    inputs = (rows.phi, rows.residual)
    means = [float(rows.w @ mlp_outputs(part, x)[:, 0]) / n for part, x in zip(weights, inputs, strict=True)]
    offsets = (rows.mean - rows.scale * means[0], -rows.scale * means[1])
    fitted = NeuralFit(weights[0], weights[1], rows.whiten_phi, rows.whiten_residual, rows.scale, offsets)
    return fitted, record.loss_curve, record.validation_curve, len(record.loss_curve) * per_epoch


def _losses(rows: _Rows, held: NDArray[np.intp], device: Any) -> tuple[Any, Any]:
    """Loss of a batch, with the calibration term, and squared error on the rows kept for stopping."""
    torch = import_torch()

    def tensor(values: Array) -> Any:
        return torch.as_tensor(values, dtype=torch.float32, device=device)

    phi, residual, y, w = (tensor(values) for values in (rows.phi, rows.residual, rows.y, rows.w))
    moments = None if rows.moments is None else tensor(rows.moments)

    def error(module: Any, index: Any, structural: Any) -> Any:
        squares = (y[index] - structural - module[1](residual[index])[:, 0]).square()
        return (w[index] * squares).sum() / w[index].sum()

    def batch_loss(module: Any, batch: Any, generator: Any) -> Any:
        index = batch.to(device)
        structural = module[0](phi[index])[:, 0]
        loss = error(module, index, structural)
        if moments is None:
            return loss
        left = y[index] - structural
        products = (w[index] * (left - left.detach().mean()))[:, None] * moments[index]
        half = len(index) // 2
        first, second = products[:half].mean(dim=0), products[half:].mean(dim=0)
        return loss + rows.calibration * (first * second).sum()

    chosen = torch.as_tensor(held, device=device)

    def validation_loss(module: Any) -> float:
        return float(error(module, chosen, module[0](phi[chosen])[:, 0]))

    return batch_loss, validation_loss
