"""Training of encoder and decoder: objectives, schedules, one loop over steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.autoencoder_data import Batch, TrainingData, squared_error
from causalkit.extrapolation.autoencoder_stopping import EarlyStop, penalty_of_batch
from causalkit.extrapolation.torch_penalty import ActionLine
from causalkit.nn import global_seed, import_torch, single_threaded, torch_generator
from causalkit.nn.progress import ProgressLine
from causalkit.nn.seeds import derived_seed

__all__ = ["Parts", "PlainObjective", "TrainingPlan", "TrainingTrace", "one_cycle", "ramp", "run_steps"]

Array = NDArray[np.float64]
# (mean code, reconstruction error, what is minimised besides the penalty)
Parts = tuple[Any, Any, Any]

_ORDER_KEY, _NOISE_KEY, _GLOBAL_KEY = 7_301, 7_302, 7_304
_START_SHARE, _RAMP_SHARE = 0.05, 0.2
_WARM_SHARE, _FIRST_RATE, _LAST_RATE = 0.3, 1 / 25, 1e-5
_LINE_STEPS = 40
_RECORDS = 100


def ramp(step: int, max_steps: int) -> float:
    """Share of the penalty in a step: 0 in the first 5 % of the steps, 1 another 20 % later.

    A penalty from the first step on gets stuck: a random encoder is made linear before it knows the features.
    """
    return min(1.0, max(0.0, (step / max_steps - _START_SHARE) / _RAMP_SHARE))


def one_cycle(step: int, max_steps: int) -> float:
    """Learning rate relative to its peak: up over 30 % of the steps, then down to zero along a cosine."""
    warm = _WARM_SHARE * max_steps
    if step < warm:
        return _FIRST_RATE + (1 - _FIRST_RATE) * (1 - math.cos(math.pi * step / warm)) / 2
    return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * (step - warm) / max(max_steps - warm, 1))) / 2


class PlainObjective:
    r"""Reconstruction of a deterministic code, or of a noisy one held near the standard normal.

    Deterministic: mean squared error over rows and entries. Variational: the code is drawn from
    :math:`N(\phi(x), \mathrm{diag}\,s(x)^2)`, and :math:`\beta\,E\,KL(q(z\mid x)\,\|\,N(0, I))` is added.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        On the device. A noisy encoder gives (b, 2d): φ and log s.
    n_components : int
        d.
    log_sd : torch.Tensor, shape (d,), optional
        log s for all rows alike, of an encoder that gives φ alone.
    prior_weight : float or None
        β; None is the deterministic code.
    """

    def __init__(
        self, encoder: Any, decoder: Any, n_components: int, *, log_sd: Any = None, prior_weight: float | None = None
    ) -> None:
        self.encoder, self.decoder, self.n_components = encoder, decoder, n_components
        self.log_sd, self.prior_weight = log_sd, prior_weight

    def parameters(self) -> list[Any]:
        """What is trained."""
        return [*self.encoder.parameters(), *self.decoder.parameters(), *self.own_parameters()]

    def own_parameters(self) -> list[Any]:
        """What is trained besides both modules."""
        return [] if self.log_sd is None else [self.log_sd]

    def train(self, mode: bool) -> None:
        """Training or evaluation mode of both modules."""
        self.encoder.train(mode)
        self.decoder.train(mode)

    def encode(self, x: Any) -> Any:
        """φ, shape (b, d)."""
        return self.encoder(x)[:, : self.n_components]

    def posterior(self, x: Any) -> tuple[Any, Any]:
        """φ and log s, each of shape (b, d)."""
        out = self.encoder(x)
        phi = out[:, : self.n_components]
        return phi, out[:, self.n_components :] if self.log_sd is None else self.log_sd.expand_as(phi)

    def __call__(self, batch: Batch, share: float, generator: Any) -> Parts:
        """Code, reconstruction error and loss without the invariance penalty; ``share`` is that of :func:`ramp`."""
        if self.prior_weight is None:
            phi = self.encode(batch.x)
            reconstruction = squared_error(batch, self.decoder(phi))
            return phi, reconstruction, reconstruction
        phi, log_sd = self.posterior(batch.x)
        # Drawn on the CPU and moved, so that devices differ by rounding only.
        noise = import_torch().randn(phi.shape, generator=generator, device="cpu").to(phi.device)
        reconstruction = squared_error(batch, self.decoder(phi + log_sd.exp() * noise))
        divergence = ((phi.square() + (2 * log_sd).exp() - 1) / 2 - log_sd).sum(dim=1)
        return phi, reconstruction, reconstruction + self.prior_weight * batch.mean(divergence)


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: λ, steps, rows of a batch, peak of the learning rate, key of all draws, progress line.

    ``patience`` is that of early stopping on the held-out rows of the data, if any.
    """

    penalty: float
    max_steps: int
    batch_size: int
    learning_rate: float
    unbiased: bool
    seed: int
    verbose: int
    foreign: bool = False
    patience: int | None = None


@dataclass(frozen=True)
class TrainingTrace:
    """Means over a hundredth of the steps each: (step, reconstruction, q_b, weight), and whether the loss settled.

    With early stopping each also has ``validation`` once the penalty has its full weight: the objective on held-out
    rows.
    """

    history: list[dict[str, float]]
    settled: bool


def run_steps(objective: Any, data: TrainingData, plan: TrainingPlan) -> TrainingTrace:
    """Minimise the objective plus λ times the penalty; the modules are changed in place.

    :func:`causalkit.nn.train_module` counts in epochs, at one rate and with one loss: here the rate, the weight of the
    penalty and the start from a target follow the number of the step, and some steps take two batches.

    Raises
    ------
    FloatingPointError
        A loss that is not finite.
    """
    torch = import_torch()
    # One kernel for all parameters: the layers are small, and a call per layer would cost more than the arithmetic.
    fused = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)
    optimiser = torch.optim.Adam(objective.parameters(), lr=plan.learning_rate, fused=fused)
    recorder = _Recorder(plan)
    line: ActionLine | None = None
    with ExitStack() as stack:
        if data.device.type == "cpu":
            stack.enter_context(single_threaded())
        if plan.foreign:  # dropout of a module from outside, and Pyro, draw from torch's global generators
            stack.enter_context(global_seed(derived_seed(plan.seed, _GLOBAL_KEY), data.device))
        progress = stack.enter_context(ProgressLine("autoencoder", plan.max_steps, plan.verbose))
        noise = torch_generator(plan.seed, _NOISE_KEY)
        batches = _batches(data, plan)
        stop = None
        if plan.patience is not None:
            stop = EarlyStop(
                objective, data, penalty=plan.penalty, patience=plan.patience, seed=plan.seed, foreign=plan.foreign
            )
        refresh = _refresh_steps(data, plan)
        for step in range(plan.max_steps):
            share = ramp(step, plan.max_steps)
            weight = plan.penalty * share
            if plan.unbiased and step % refresh == 0:
                objective.train(False)
                line = data.line(objective.encode, plan.seed, step)
            objective.train(True)
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * one_cycle(step, plan.max_steps)
            batch = data.batch(next(batches))
            optimiser.zero_grad(set_to_none=True)
            phi, reconstruction, loss = objective(batch, share, noise)
            if data.target is not None and step < _START_SHARE * plan.max_steps:
                loss = loss + batch.mean((phi - batch.target).square().mean(dim=1))
            q_b = None
            if weight > 0 or recorder.is_due(step):
                q_b = penalty_of_batch(phi, batch, line)
                loss = loss + (weight * q_b).to(loss.dtype) if weight > 0 else loss
            loss.backward()
            optimiser.step()
            recorder.add(step, reconstruction, q_b, loss, weight)
            progress.update(step + 1, recorder.text)
            # Before the penalty has its full weight, the objective of a step is not the one that is compared.
            if stop is not None and recorder.is_due(step) and share == 1:
                recorder.history[-1]["validation"], ended = stop(line)
                if ended:
                    recorder.stopped = True
                    break
        if stop is not None:
            stop.restore()
    objective.train(False)
    return recorder.trace()


def _batches(data: TrainingData, plan: TrainingPlan) -> Iterator[Any]:
    """Row numbers of batches without end; an epoch leaves out the rows that do not fill a batch."""
    torch = import_torch()
    size = plan.batch_size * (2 if plan.unbiased else 1)
    size = min(size, len(data.rows))
    rows = torch.as_tensor(data.rows, device="cpu")
    epoch = 0
    while True:
        order = torch.randperm(len(rows), generator=torch_generator(plan.seed, _ORDER_KEY, epoch), device="cpu")
        for part in torch.split(rows[order].to(data.device), size):
            if len(part) == size:
                yield part
        epoch += 1


def _refresh_steps(data: TrainingData, plan: TrainingPlan) -> int:
    """Steps between two fits of the line: an epoch, and 40 where an epoch is longer, as the code moves on."""
    return max(1, min(len(data.rows) // (2 * plan.batch_size), _LINE_STEPS))


class _Recorder:
    """Means over intervals, taken from the device once per interval."""

    def __init__(self, plan: TrainingPlan) -> None:
        self.max_steps = plan.max_steps
        self.length = max(1, plan.max_steps // _RECORDS)
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.text = ""
        self.stopped = False
        self._sums: list[Any] = [0.0, 0.0, 0.0]
        self._counts = [0, 0]

    def is_due(self, step: int) -> bool:
        return (step + 1) % self.length == 0 or step + 1 == self.max_steps

    def add(self, step: int, reconstruction: Any, q_b: Any, loss: Any, weight: float) -> None:
        self._sums[0] = self._sums[0] + reconstruction.detach()
        self._sums[2] = self._sums[2] + loss.detach()
        self._counts[0] += 1
        if q_b is not None:
            self._sums[1] = self._sums[1] + q_b.detach()
            self._counts[1] += 1
        if not self.is_due(step):
            return
        error, total = (float(self._sums[j]) / self._counts[0] for j in (0, 2))
        invariance = float(self._sums[1]) / self._counts[1]
        if not math.isfinite(error + total + invariance):
            raise FloatingPointError(
                f"training diverged before step {step + 1}: reconstruction error {error:g}, penalty {invariance:g}. "
                "Lower learning_rate or penalty, or check that a module of your own gives finite numbers."
            )
        self.history.append({"step": step + 1, "reconstruction": error, "q_b": invariance, "weight": weight})
        self.losses.append(total)
        self.text = f"reconstruction {error:.4g}, penalty {invariance:.3g}"
        self._sums, self._counts = [0.0, 0.0, 0.0], [0, 0]

    def trace(self) -> TrainingTrace:
        tenth = max(1, len(self.losses) // 10)
        last, before = np.mean(self.losses[-tenth:]), np.mean(self.losses[-2 * tenth : -tenth] or [np.inf])
        # A negative evidence bound may lie below zero, where nine tenths of it are more, and not less.
        return TrainingTrace(self.history, bool(self.stopped or last > before - 0.1 * abs(before)))
