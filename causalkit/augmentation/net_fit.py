"""What the two IV-like networks share: parameters, checks, training, outputs."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.atomic_fit import atomic_fit
from causalkit.augmentation.arguments import Variation, check_same_rows, resolve_variation
from causalkit.augmentation.immutable_augmenter import ImmutableAugmenterMixin
from causalkit.augmentation.linear_inputs import check_alpha
from causalkit.augmentation.net_pairs import NetObjectives, NetPairs, Scaling, Targets
from causalkit.exceptions import ConvergenceWarning, MethodNotApplicableError
from causalkit.nn.blocks import check_layer_sizes, make_mlp, mlp_outputs
from causalkit.nn.device import import_torch, resolve_device, single_threaded
from causalkit.nn.seeds import derived_seed, global_seed, torch_generator
from causalkit.nn.splits import validation_split
from causalkit.nn.state import arrays_of_module, module_outputs
from causalkit.nn.training import TrainingOptions, TrainingRecord, train_module
from causalkit.seeds import root_seed
from causalkit.validation import check_choice, check_fit_table, check_groups, check_integer, check_sample_weight

__all__ = ["IVLikeNetMixin"]

Array = NDArray[np.float64]

NET_PENALTIES = ("pointwise", "paired", "projected")
_KEYS = {"weights": 1, "split": 2, "draws": 3, "batches": 4, "module": 5}


@dataclass(frozen=True, eq=False)
class _Trained:
    module: Any
    scaling: Scaling
    record: TrainingRecord
    device: Any


class IVLikeNetMixin(ImmutableAugmenterMixin):
    """Parameters and ``fit`` of the networks; the estimators say what their targets and outputs are."""

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        augmentation: Any = None,
        penalty: str = "auto",
        module: Any = None,
        hidden_layer_sizes: tuple[int, ...] = (64, 64),
        max_epochs: int = 300,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        patience: int = 30,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.alpha = alpha
        self.augmentation = augmentation
        self.penalty = penalty
        self.module = module
        self.hidden_layer_sizes = hidden_layer_sizes
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        instruments: Any = None,
        augmented: Any = None,
        augmentation_parameters: Any = None,
        groups: Any = None,
        sample_weight: Any = None,
    ) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features before augmentation.
        y : array-like, shape (n,) or (n, t)
            Outcome; classes, shape (n,), for the classifier.
        instruments : array-like, shape (n, k), optional
            Real instruments; exclude augmentations.
        augmented : array-like, shape (n, p) or (n, R, p), optional
            Augmented features made beforehand, the same in every epoch; exclude ``augmentation``.
        augmentation_parameters : array-like, shape (n, k) or (n, R, k), optional
            Their parameters, for "paired" and "projected".
        groups : array-like, shape (n,), optional
            Rows of a group are on one side of the validation split.
        sample_weight : array-like, shape (n,), optional
            Weights of rows in both terms of the objective; rows of weight 0 are left out.

        Returns
        -------
        self
            If training is interrupted the estimator is as it was before.
        """
        with atomic_fit(self):
            return self._fit(
                X,
                y,
                groups,
                sample_weight,
                instruments=instruments,
                augmented=augmented,
                augmentation_parameters=augmentation_parameters,
            )

    def _fit(self, X: Any, y: Any, groups: Any, sample_weight: Any, **sources: Any) -> Any:
        alpha = _check_alpha(self.alpha)
        check_same_rows(X, y=y, groups=groups, sample_weight=sample_weight)
        options, sizes = self._check_options()
        device = resolve_device(self.device)
        table, outcome = check_fit_table(
            self,
            X,
            y,
            dtype=np.float64,
            ensure_min_samples=2,
            y_numeric=self._is_regressor,
            multi_output=self._is_regressor,
            magnitude=True,
        )
        variation = resolve_variation(
            X if hasattr(X, "columns") else table,
            augmentation=self.augmentation,
            penalty=self.penalty,
            allowed=NET_PENALTIES,
            **sources,
        )
        weight = check_sample_weight(sample_weight, len(table), like="X")
        clusters = check_groups(groups, len(table), like="X")
        weight = np.ones(len(table)) if weight is None else weight
        rows = np.flatnonzero(weight > 0)
        seed = root_seed(self.random_state)
        pairs = NetPairs(table, weight, variation, self.augmentation, derived_seed(seed, _KEYS["draws"])).take(rows)
        targets = self._make_targets(outcome[rows], weight[rows])
        codes = None if clusters is None else np.unique(clusters.codes[rows], return_inverse=True)[1]
        training, validation = self._split(targets, codes, seed)
        trained = self._train(pairs, targets, training, validation, alpha, options, sizes, seed, device)
        self._store(trained, targets, variation, alpha)
        if not trained.record.converged:
            warnings.warn(
                f"training stopped after max_epochs={options.max_epochs} while the loss was still falling: raise "
                "max_epochs or learning_rate.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    # ------------------------------------------------------------------ for the two estimators to say

    _is_regressor: bool

    def _make_targets(self, y: NDArray[Any], weight: Array) -> Targets:
        raise TypeError(f"{type(self).__name__} does not say what its targets are.")

    # ------------------------------------------------------------------ steps of the fit

    def _check_options(self) -> tuple[TrainingOptions, tuple[int, ...]]:
        check_choice(self.early_stopping, "early_stopping", (True, False))
        check_integer(self.verbose, "verbose", low=0)
        if self.module is not None and not callable(self.module):
            raise ValueError(
                "module must be a torch module, or a function (n_features, n_outputs) that returns one; "
                f"got {self.module!r}."
            )
        options = TrainingOptions.checked(
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
        )
        return options, check_layer_sizes(self.hidden_layer_sizes)

    def _split(
        self, targets: Targets, groups: NDArray[np.intp] | None, seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        n = len(targets.values)
        if not self.early_stopping:
            return np.arange(n), np.arange(0)
        strata = None if self._is_regressor else targets.values
        key = derived_seed(seed, _KEYS["split"])
        return validation_split(n, self.validation_fraction, key, strata=strata, groups=groups)

    def _train(
        self,
        pairs: NetPairs,
        targets: Targets,
        training: NDArray[np.intp],
        validation: NDArray[np.intp],
        alpha: float,
        options: TrainingOptions,
        sizes: tuple[int, ...],
        seed: int,
        device: Any,
    ) -> _Trained:
        torch = import_torch()
        with self._local_random_state(seed, device):
            objectives = NetObjectives(pairs, targets, training, validation, alpha, device, self.module is None)
            module = self._make_module(pairs.X.shape[1], targets.n_outputs, sizes, seed, objectives, device)
            record = train_module(
                module,
                torch.arange(len(training)),
                objectives.training.batch_loss,
                options,
                seed=derived_seed(seed, _KEYS["batches"]),
                validation_loss=None if objectives.validation is None else objectives.validation.validation_loss,
                start_epoch=objectives.training.start_epoch,
                verbose=self.verbose,
                label=type(self).__name__,
            )
        return _Trained(module, objectives.scaling, record, device)

    @contextlib.contextmanager
    def _local_random_state(self, seed: int, device: Any) -> Iterator[None]:
        """One thread for the built-in network, torch's global generators seeded for one from outside."""
        if self.module is not None:
            with global_seed(derived_seed(seed, _KEYS["module"]), device):
                yield
        elif device.type == "cpu":
            with single_threaded():
                yield
        else:
            yield

    def _make_module(
        self, n_features: int, n_outputs: int, sizes: tuple[int, ...], seed: int, objectives: NetObjectives, device: Any
    ) -> Any:
        torch = import_torch()
        if self.module is None:
            return make_mlp((n_features, *sizes, n_outputs), torch_generator(seed, _KEYS["weights"])).to(device)
        is_module = isinstance(self.module, torch.nn.Module)
        made = copy.deepcopy(self.module) if is_module else self.module(n_features, n_outputs)
        if not isinstance(made, torch.nn.Module):
            raise ValueError(f"module must give a torch module; the function returned {type(made).__name__}.")
        made = made.to(device=device, dtype=torch.float32).eval()
        with torch.no_grad():
            got = tuple(made(objectives.training.features[:2]).shape)
        if got != (2, n_outputs) and not (n_outputs == 1 and got == (2,)):
            raise ValueError(
                f"module must turn rows of shape (b, {n_features}) into outputs of shape (b, {n_outputs}); two rows "
                f"gave {got}. Reshape inside the module, and give it one output per "
                f"{'outcome' if self._is_regressor else 'class (logits)'}."
            )
        return made

    def _store(self, trained: _Trained, targets: Targets, variation: Variation, alpha: float) -> None:
        for name in ("weights_", "layer_sizes_", "module_"):
            vars(self).pop(name, None)
        if self.module is None:
            self.weights_ = arrays_of_module(trained.module)
            biases = [value for name, value in self.weights_.items() if name.endswith("bias")]
            self.layer_sizes_ = (len(trained.scaling.centre), *(len(bias) for bias in biases))
        else:
            self.module_ = trained.module.to("cpu")
        self.feature_centre_, self.feature_scale_ = trained.scaling.centre, trained.scaling.scale
        self.alpha_, self.penalty_, self.variation_ = alpha, variation.penalty, variation.kind
        self.device_ = str(trained.device)
        self.loss_curve_ = trained.record.loss_curve
        self.validation_curve_ = trained.record.validation_curve
        self.n_epochs_, self.best_epoch_ = len(self.loss_curve_), trained.record.best_epoch
        self.converged_ = trained.record.converged

    # ------------------------------------------------------------------ outputs

    def _outputs(self, X: Any) -> Array:
        """Outputs of the fitted network, shape (n, t)."""
        check_is_fitted(self)
        table = check_fit_table(self, X, dtype=np.float64, reset=False)
        scaled = Scaling(self.feature_centre_, self.feature_scale_).apply(table)
        if hasattr(self, "weights_"):
            return mlp_outputs(self.weights_, scaled)
        return module_outputs(self.module_, scaled, resolve_device(self.device))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "loss_curve_")


def _check_alpha(value: Any) -> float:
    alpha = check_alpha(value)
    if alpha == 0:
        raise MethodNotApplicableError(
            "alpha=0 leaves a network without a data term: the limit exists for linear models only. Use a small "
            "alpha such as 0.01, or IVLikeRegressor(alpha=0)."
        )
    return alpha
