"""Early stopping of autoencoders: the objective on rows that are not trained on, and the weights that were best."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.autoencoder_data import Batch, TrainingData
from causalkit.extrapolation.torch_penalty import ActionLine, two_batch_penalty, whitened_penalty
from causalkit.nn import global_seed, import_torch, torch_generator, validation_split
from causalkit.nn.seeds import derived_seed
from causalkit.nn.splits import check_number
from causalkit.nn.training import _Best
from causalkit.validation import check_integer

__all__ = ["EarlyStop", "StoppingRule", "penalty_of_batch"]

_SPLIT_KEY, _NOISE_KEY = 7_306, 7_307
_MOST_ROWS = 4096


@dataclass(frozen=True)
class StoppingRule:
    """When training ends before its last step.

    Attributes
    ----------
    validation_fraction : float
        Share of the rows that are kept from training, to stop by.
    patience : int
        Looks at them, one in every hundredth of the steps, without a relative improvement of 1e-4 before training ends.
    """

    validation_fraction: float
    patience: int

    @classmethod
    def checked(cls, *, early_stopping: Any, validation_fraction: Any, patience: Any) -> StoppingRule | None:
        """The rule with plain numbers, or None; refuses values that make no sense."""
        if not isinstance(early_stopping, bool | np.bool_):
            raise ValueError(f"early_stopping must be True or False; got {early_stopping!r}.")
        share = check_number(validation_fraction, "validation_fraction", above_zero=True)
        if share >= 1:
            raise ValueError(
                f"validation_fraction must lie between 0 and 1, both excluded; got {validation_fraction!r}."
            )
        looks = check_integer(patience, "patience", low=1)
        return cls(share, looks) if early_stopping else None

    def split(
        self, rows: NDArray[np.intp], groups: NDArray[np.intp] | None, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows to train on and rows to stop by; clusters are not divided."""
        units = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
        training, held = validation_split(
            len(rows), self.validation_fraction, derived_seed(seed, _SPLIT_KEY), groups=units
        )
        return rows[training], rows[held]


def penalty_of_batch(phi: Any, batch: Batch, line: ActionLine | None) -> Any:
    """Q_B of one batch, or its unbiased form from two where a line is given."""
    if line is None:
        return whitened_penalty(phi, batch.actions, batch.projected, batch.weight)
    return two_batch_penalty(phi, batch.actions, batch.projected, line, batch.weight)


class EarlyStop:
    """Looks at held-out rows during training, and puts the best weights back at its end.

    The value is what is minimised, with the full penalty, on at most 4096 of the rows; a noisy code has the same draws
    at every look.

    Parameters
    ----------
    objective : PlainObjective
        What is trained.
    data : TrainingData
        With rows held out.
    penalty : float
        λ.
    patience : int
        See :class:`StoppingRule`.
    seed : int
        Key of the draws.
    foreign : bool
        Whether the objective draws from torch's global generators.
    """

    def __init__(
        self, objective: Any, data: TrainingData, *, penalty: float, patience: int, seed: int, foreign: bool
    ) -> None:
        torch = import_torch()
        self.objective, self.data, self.penalty, self.seed, self.foreign = objective, data, penalty, seed, foreign
        self.index = torch.as_tensor(data.held[:_MOST_ROWS], device=data.device)
        self.best = _Best(patience)
        self._looks = 0

    def __call__(self, line: ActionLine | None) -> tuple[float, bool]:
        """Value on the held-out rows, and whether patience has run out."""
        torch = import_torch()
        seed = derived_seed(self.seed, _NOISE_KEY)
        self.objective.train(False)
        with torch.no_grad(), global_seed(seed, self.data.device) if self.foreign else nullcontext():
            batch = self.data.batch(self.index)
            phi, _, loss = self.objective(batch, 1.0, torch_generator(self.seed, _NOISE_KEY))
            if self.penalty > 0:
                loss = loss + self.penalty * penalty_of_batch(phi, batch, line)
        value = float(loss)
        # A value that is not a number is not an improvement; the record of the training steps refuses it.
        ended = self.best.update(self._looks, value if math.isfinite(value) else math.inf, self)
        self._looks += 1
        return value, ended

    def state_dict(self) -> dict[str, Any]:
        """Everything that is trained, and buffers of the modules."""
        states = {"encoder": self.objective.encoder.state_dict(), "decoder": self.objective.decoder.state_dict()}
        others = [parameter.detach() for parameter in self.objective.own_parameters()]
        return {**states, "others": others}

    def restore(self) -> None:
        """Put the weights of the best look back."""
        found = self.best.state
        if found is None:
            return
        self.objective.encoder.load_state_dict(found["encoder"])
        self.objective.decoder.load_state_dict(found["decoder"])
        with import_torch().no_grad():
            for parameter, value in zip(self.objective.own_parameters(), found["others"], strict=True):
                parameter.copy_(value)
