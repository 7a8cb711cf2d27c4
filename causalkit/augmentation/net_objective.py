"""Loss of the IV-like networks: data term plus 1/α times a penalty, in batches and in full."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from causalkit.nn.device import import_torch

__all__ = ["Evaluated", "NetObjective", "loss_shares", "moment_product", "pair_statistic"]

MOMENT_PENALTIES = ("projected", "paired")
_BLOCK_ROWS = 8192


def loss_shares(alpha: float) -> tuple[float, float]:
    """Factors of the data term and of the penalty, (α, 1)/(1 + α).

    The objective data + penalty/α is multiplied by α/(1 + α): the minimiser stays, and for α near 0 the
    loss does not explode. α = inf leaves the data term alone.
    """
    if math.isinf(alpha):
        return 1.0, 0.0
    return alpha / (1 + alpha), 1 / (1 + alpha)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Values of some rows.

    Attributes
    ----------
    data : tensor, shape (b,)
        Loss of each row, averaged over its draws.
    changes : tensor, shape (b,), or None
        Squared change of the prediction under the augmentation, averaged over draws (pointwise penalty).
    scores : tensor, shape (b, k, t), or None
        Whitened parameter times residual, or times change, averaged over draws (moment penalties).
    """

    data: Any
    changes: Any = None
    scores: Any = None


def moment_product(first: Any, second: Any) -> Any:
    """q₁'S⁻¹q₂, summed over outcomes, of two averages of whitened scores of shape (k, t).

    With one batch twice it is the square q'S⁻¹q. The square of a batch average exceeds the square of the
    full average by the variance of the batch, so batches take two independent draws: the expectation is
    then q'S⁻¹q itself, and a single value may be negative.
    """
    return (first * second).sum()


def pair_statistic(scores: Any) -> Any:
    """Mean of s_i's_j over pairs of different rows: an estimate of q'S⁻¹q without the term of equal rows.

    (n²|s̄|² - Σ|s_i|²)/(n(n-1)) for scores of shape (n, k, t); a single row gives its square.
    """
    n = scores.shape[0]
    total = scores.sum(dim=0)
    if n < 2:
        return (total * total).sum()
    return ((total * total).sum() - (scores * scores).sum()) / (n * (n - 1))


class NetObjective:
    r"""Objective of a network h on fixed rows, after scaling by α/(1 + α).

    .. math:: \tfrac{\alpha}{1+\alpha}\,E_n \ell(y, h(GX)) + \tfrac{1}{1+\alpha}\,\mathrm{pen}(h)

    with ℓ the squared error or the log loss, and pen the mean of (h(GX) - h(X))² (pointwise), q'S⁻¹q with
    q = E_n[g̃(h(GX) - h(X))] (paired) or with q = E_n[g̃(y - h(GX))] (projected). For classes h and y are
    the probabilities and the indicators, and the sum of squares over classes is halved, so that two classes
    count once.

    Parameters
    ----------
    features : tensor, shape (n, p)
        Features before augmentation.
    targets : tensor, shape (n, t) or (n,)
        Scaled outcomes, or class numbers (int64) for a classifier.
    weight : tensor, shape (n,)
        Weights of mean 1.
    penalty : {"none", "pointwise", "paired", "projected"}
        Which penalty.
    alpha : float
        Above 0, possibly infinite.
    redraw : callable, optional
        ``epoch -> (moved, directions)``: new augmented features (n, R, p) and whitened parameters (n, R, k).
    """

    def __init__(
        self,
        features: Any,
        targets: Any,
        weight: Any,
        *,
        penalty: str,
        alpha: float,
        redraw: Callable[[int], tuple[Any, Any]] | None = None,
    ) -> None:
        self.features = features
        self.targets = targets
        self.weight = weight
        self.data_share, self.penalty_share = loss_shares(alpha)
        self.penalty = penalty if self.penalty_share > 0 else "none"
        self.redraw = redraw
        self.moved: Any = None
        self.directions: Any = None

    @property
    def classifies(self) -> bool:
        """Whether targets are class numbers."""
        return self.targets.ndim == 1

    def set_copies(self, moved: Any, directions: Any) -> None:
        """Set augmented features (n, R, p) and whitened parameters (n, R, k) or None."""
        self.moved, self.directions = moved, directions

    def start_epoch(self, epoch: int) -> None:
        """Draw the copies of an epoch, where they are drawn."""
        if self.redraw is not None:
            self.set_copies(*self.redraw(epoch))

    def batch_loss(self, module: Any, batch: Any, generator: Any) -> Any:
        """Unbiased loss of a batch: its expectation over batches is that of all rows, :meth:`full_loss`.

        Moment penalties take a second batch of the same size, drawn from all rows with replacement and
        independently of the first; the batch of all rows takes the square instead.
        """
        torch = import_torch()
        n = self.features.shape[0]
        first = self.evaluate(module, batch)
        data = (self._weight(batch) * first.data).mean()
        if self.penalty not in MOMENT_PENALTIES or len(batch) == n:
            return self._combine(data, self._penalty_of_rows(first, self._weight(batch)))
        other = torch.randint(n, (len(batch),), generator=generator)
        second = self.evaluate(module, other)
        data = (data + (self._weight(other) * second.data).mean()) / 2
        averages = [self._average(part, self._weight(rows)) for part, rows in ((first, batch), (second, other))]
        return self._combine(data, self._factor() * moment_product(*averages))

    def full_loss(self, module: Any) -> Any:
        """Loss on all rows, as one batch of all rows gives it."""
        whole = self._evaluate_all(module)
        return self._combine((self.weight * whole.data).mean(), self._penalty_of_rows(whole, self.weight))

    def validation_loss(self, module: Any) -> float:
        """Loss on all rows with moment penalties from pairs of different rows, so that noise is not counted."""
        whole = self._evaluate_all(module)
        data = (self.weight * whole.data).mean()
        if self.penalty in MOMENT_PENALTIES:
            scores = self.weight[:, None, None] * whole.scores
            return float(self._combine(data, self._factor() * pair_statistic(scores)))
        return float(self._combine(data, self._penalty_of_rows(whole, self.weight)))

    def evaluate(self, module: Any, rows: Any) -> Evaluated:
        """Loss, changes and scores of some rows, given by number (on the CPU)."""
        torch = import_torch()
        rows = rows.to(self.features.device)
        moved, before, b = self.moved[rows], self.features[rows], len(rows)
        n_draws = moved.shape[1]
        with_pairs = self.penalty in ("pointwise", "paired")
        # One pass for both members of the pairs: layers that use the batch treat them alike.
        inputs = torch.cat([moved.flatten(0, 1), before]) if with_pairs else moved.flatten(0, 1)
        outputs = module(inputs)
        outputs = outputs.reshape(len(inputs), -1)
        after = outputs[: b * n_draws].reshape(b, n_draws, -1)
        data = self._data_loss(after, self.targets[rows]).mean(dim=1)
        if self.penalty == "none":
            return Evaluated(data)
        after = self._predictions(after)
        if self.penalty == "projected":
            moment = self._outcomes(rows, after.shape[-1])[:, None, :] - after
        else:
            moment = after - self._predictions(outputs[b * n_draws :]).reshape(b, 1, -1)
        if self.penalty == "pointwise":
            return Evaluated(data, changes=(moment**2).sum(dim=-1).mean(dim=1))
        scores = torch.einsum("brk,brt->bkt", self.directions[rows], moment) / n_draws
        return Evaluated(data, scores=scores)

    def _evaluate_all(self, module: Any) -> Evaluated:
        torch = import_torch()
        rows = torch.arange(self.features.shape[0])
        parts = [self.evaluate(module, block) for block in torch.split(rows, _BLOCK_ROWS)]

        def joined(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values)

        return Evaluated(joined("data"), joined("changes"), joined("scores"))

    def _penalty_of_rows(self, values: Evaluated, weight: Any) -> Any:
        if self.penalty == "none":
            return 0.0
        if values.changes is not None:
            return self._factor() * (weight * values.changes).mean()
        average = self._average(values, weight)
        return self._factor() * moment_product(average, average)

    def _average(self, values: Evaluated, weight: Any) -> Any:
        return (weight[:, None, None] * values.scores).mean(dim=0)

    def _combine(self, data: Any, penalty: Any) -> Any:
        return self.data_share * data + self.penalty_share * penalty

    def _factor(self) -> float:
        return 0.5 if self.classifies else 1.0

    def _weight(self, rows: Any) -> Any:
        return self.weight[rows.to(self.weight.device)]

    def _data_loss(self, outputs: Any, targets: Any) -> Any:
        """Loss per row and draw, (b, R), of outputs (b, R, t)."""
        torch = import_torch()
        if not self.classifies:
            return ((targets[:, None, :] - outputs) ** 2).sum(dim=-1)
        chosen = targets[:, None, None].expand(-1, outputs.shape[1], 1)
        return -torch.log_softmax(outputs, dim=-1).gather(-1, chosen)[..., 0]

    def _predictions(self, outputs: Any) -> Any:
        return import_torch().softmax(outputs, dim=-1) if self.classifies else outputs

    def _outcomes(self, rows: Any, n_outputs: int) -> Any:
        torch = import_torch()
        if not self.classifies:
            return self.targets[rows]
        return torch.nn.functional.one_hot(self.targets[rows], n_outputs).to(self.features.dtype)
