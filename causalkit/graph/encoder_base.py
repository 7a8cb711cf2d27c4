"""What GNNRegressor and GNNClassifier share: parameters, checks, training, outputs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.atomic_fit import atomic_fit
from causalkit.exceptions import GraphError
from causalkit.graph import encoder_outputs
from causalkit.graph.alignment import check_graph, row_positions
from causalkit.graph.encoder_outputs import EncoderData, import_neural, network_outputs
from causalkit.graph.encoder_plan import EncoderPlan, check_plan, fanout_in_use
from causalkit.graph.encoder_training import Bag, Target, train_bags
from causalkit.graph.features import check_features
from causalkit.graph.hop_columns import Covered, covered_graph, moments
from causalkit.graph.hops import HopFeatures, _warn_of_coverage
from causalkit.graph.inputs import check_same_rows
from causalkit.nn import arrays_of_module, fit_stacked_mlp, import_torch, load_arrays, resolve_device, single_threaded
from causalkit.seeds import root_seed
from causalkit.validation import check_sample_weight

if TYPE_CHECKING:
    from causalkit.graph.graph import Graph

__all__ = ["GNNMixin"]

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# The operator of each encoder; hop features bring their own.
_OPERATORS = {"sage": "mean", "gcn": "sym", "gat": "binary", "gin": "raw", "module": "raw"}
_LARGE_BATCH = 8_192


class GNNMixin:
    """Parameters, ``fit`` and outputs; the estimators say what their targets are."""

    def __init__(
        self,
        *,
        encoder: Any = "sign",
        hops: int = 2,
        hidden: int = 64,
        n_layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        max_iter: int = 400,
        patience: int = 40,
        validation_fraction: float = 0.2,
        n_bags: int = 3,
        batch_size: int | str = "auto",
        fanout: tuple[int, ...] = (10, 10),
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.hops = hops
        self.hidden = hidden
        self.n_layers = n_layers
        self.heads = heads
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.n_bags = n_bags
        self.batch_size = batch_size
        self.fanout = fanout
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, *, graph: Any = None, nodes: Any = None, sample_weight: Any = None) -> Any:
        """Train the networks.

        Parameters
        ----------
        X : array-like or frame, shape (n, p)
            Covariates of the rows. Covariates of other nodes come from ``graph.with_features``.
        y : array-like, shape (n,)
            Outcome, or classes for the classifier.
        graph : Graph
            The network.
        nodes : array-like, shape (n,), optional
            Node of each row; may be left out where row i can only be node i.
        sample_weight : array-like, shape (n,), optional
            Weights of the rows in the loss. Rows of weight 0 pass their covariates on and are not fitted.

        Returns
        -------
        self
            If training fails or is interrupted the estimator is as it was before.
        """
        with atomic_fit(self):
            return self._fit(X, y, graph, nodes, sample_weight)

    def _fit(self, X: Any, y: Any, graph: Any, nodes: Any, sample_weight: Any) -> Any:
        graph = check_graph(graph)
        plan = check_plan(self)
        device = resolve_device(self.device)
        values, _ = check_features(X)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        positions = row_positions(X, graph, nodes, n_rows=len(values))
        check_same_rows(X, y=y, sample_weight=sample_weight)
        weight = check_sample_weight(sample_weight, len(values), like="X")
        weight = np.ones(len(values)) if weight is None else weight / weight.mean()
        if int((weight > 0).sum()) < 2:
            raise ValueError(
                f"X has 1 sample (n_samples = {len(values)}) to train on: expected at least 2 rows of positive "
                "weight, one of them for validation."
            )
        target = self._make_target(y, weight)
        covered = covered_graph(values, positions, graph) if plan.kind != "sign" else None
        if covered is not None:  # hop features say it themselves
            _warn_of_coverage(covered, graph)
        validate_data(self, X, reset=True, skip_check_array=True)  # type: ignore[arg-type]
        seed = root_seed(self.random_state)
        self.graph_: Graph = graph
        self.device_ = str(device)
        self.encoder_ = plan.kind
        with _threads(device, max(graph.n_nodes, len(values))):
            if covered is None:
                self._fit_hops(X, nodes, plan, target, device, seed)
            else:
                self._fit_messages(covered, values, plan, target, device, seed)
        return self

    # ------------------------------------------------------------------ for the two estimators to say

    def _make_target(self, y: Any, weight: Array) -> Target:
        raise TypeError(f"{type(self).__name__} does not say what its target is.")

    def _units(self) -> float:
        """Factor from the loss in training to that of the outcome."""
        return 1.0

    # ------------------------------------------------------------------ hop features and a perceptron

    def _fit_hops(self, X: Any, nodes: Any, plan: EncoderPlan, target: Target, device: Any, seed: int) -> None:
        self.hop_features_ = HopFeatures(hops=plan.hops)
        columns = self._natural(self.hop_features_.fit_transform(X, graph=self.graph_, nodes=nodes))
        if plan.dropout > 0:
            self._train(_without_edges(columns, device), plan, target, seed)
            return
        k = 1 if target.offset is None else len(target.offset)
        self.network_ = fit_stacked_mlp(
            columns,
            target.values,
            loss="squared" if target.offset is None else "log",
            n_outputs=k,
            sample_weight=target.weight,
            n_bags=plan.n_bags,
            hidden=(plan.hidden,) * plan.n_layers,
            max_epochs=plan.options.max_epochs,
            patience=plan.options.patience,
            learning_rate=plan.options.learning_rate,
            weight_decay=plan.options.weight_decay,
            batch_size=plan.batch_size,
            validation_fraction=plan.validation_fraction,
            seed=seed,
            device=device,
            verbose=self.verbose,
        )
        units = self._units()
        self.n_iter_ = self.network_.n_iter
        self.validation_loss_ = self.network_.validation_loss * units
        self.loss_curve_ = [curve * units for curve in self.network_.loss_curve]

    def _natural(self, columns: Float) -> Float:
        """Hop columns with the spread that averaging leaves them, beside own covariates of spread 1.

        A perceptron starts out with equal weights for all of its inputs: blown up to spread 1, the many averages
        would drown the node's own covariates (test_every_encoder_keeps_the_own_covariates).
        """
        columns *= np.minimum(self.hop_features_.column_scale_, 1.0).astype(np.float32)
        return columns

    # ------------------------------------------------------------------ message passing

    def _fit_messages(
        self, covered: Covered, values: Array, plan: EncoderPlan, target: Target, device: Any, seed: int
    ) -> None:
        self.center_, self.scale_ = moments(values)
        if plan.kind == "gin":
            # A sum over neighbours grows with their number, which the network therefore has to know.
            center, scale = moments(_log_degree(covered)[covered.rows, None])
            self.center_, self.scale_ = np.append(self.center_, center), np.append(self.scale_, scale)
        data = self._data(covered, plan.kind, device)
        self._train(data, plan, target, seed)

    def _data(self, covered: Covered, kind: str, device: Any) -> EncoderData:
        columns = covered.values
        if kind == "gin":
            columns = np.column_stack([columns, _log_degree(covered)])
        factor = np.divide(1.0, self.scale_, out=np.zeros_like(self.scale_), where=self.scale_ > 0)
        x = ((columns - self.center_) * factor).astype(np.float32)
        matrix = covered.matrix(_OPERATORS[kind])
        if not matrix.has_sorted_indices:
            matrix = matrix.sorted_indices()
        symmetric = not self.graph_.directed and kind in ("gcn", "gin", "gat", "module")
        return EncoderData(x, matrix, kind, symmetric, covered.rows, device)

    def _train(self, data: EncoderData, plan: EncoderPlan, target: Target, seed: int) -> None:
        neural = import_neural()
        n_outputs = 1 if target.offset is None else len(target.offset)
        sizes = (data.x.shape[1], plan.hidden, plan.n_layers, n_outputs, plan.heads)
        n_rows = int((target.weight > 0).sum())
        fanout = fanout_in_use(plan, data.kind, len(data.x), n_rows)
        batch = plan.batch_size
        if isinstance(batch, str):
            batch = n_rows if fanout is None else _LARGE_BATCH
        options = replace(plan.options, batch_size=batch)

        def make(generator: Any) -> Any:
            if data.kind == "module":
                return _module_from_outside(self.encoder, data.x.shape[1], n_outputs)
            return neural.make_network(data.kind, *sizes, plan.dropout, generator, _sum_scale(data))

        bags = train_bags(
            data,
            target,
            make,
            options,
            n_bags=plan.n_bags,
            fanout=fanout,
            validation_fraction=plan.validation_fraction,
            seed=seed,
            verbose=self.verbose,
        )
        self._store(bags, data, sizes)

    def _store(self, bags: list[Bag], data: EncoderData, sizes: tuple[int, ...]) -> None:
        if data.kind == "module":
            self.modules_ = [bag.module.cpu() for bag in bags]
        else:
            self.weights_ = [arrays_of_module(bag.module) for bag in bags]
            self.sizes_ = sizes
        units = self._units()
        self.n_iter_ = np.array([bag.n_iter for bag in bags])
        self.validation_loss_ = np.array([bag.validation_loss for bag in bags]) * units
        self.loss_curve_ = [bag.loss_curve * units for bag in bags]

    # ------------------------------------------------------------------ outputs

    def _outputs(self, X: Any, graph: Any, nodes: Any) -> tuple[list[Array], bool]:
        """Outputs of every bag at the rows; or their mean alone, of the perceptrons on hop features, and True."""
        check_is_fitted(self)
        used = self.graph_ if graph is None else check_graph(graph)
        if used.directed != self.graph_.directed:
            words = ("an undirected", "a directed")
            raise GraphError(
                f"graph is {words[used.directed]} one, but fit saw {words[self.graph_.directed]} one: neighbours mean "
                f"something else. Build it with directed={self.graph_.directed}."
            )
        values, _ = check_features(X)
        validate_data(self, X, reset=False, skip_check_array=True)  # type: ignore[arg-type]
        if self.encoder_ == "sign":
            columns = self._natural(self.hop_features_.transform(X, graph=used, nodes=nodes))
            if hasattr(self, "network_"):
                return [self.network_.predict(columns)], True
            return self._network_outputs(len(columns), partial(_without_edges, columns)), False
        covered = covered_graph(values, row_positions(X, used, nodes, n_rows=len(values)), used)
        _warn_of_coverage(covered, used)
        make_data = partial(self._data, covered, self.encoder_)
        return self._network_outputs(len(covered.values), make_data), False

    def _network_outputs(self, n: int, make_data: Callable[[Any], EncoderData]) -> list[Array]:
        # The name of the device may have come from another machine with a file.
        device = resolve_device(self.device)
        data = make_data(device)
        with _threads(device, n):
            return [network_outputs(module, data) for module in self._networks()]

    def _networks(self) -> list[Any]:
        if self.encoder_ == "module":
            return [copy.deepcopy(module) for module in self.modules_]
        neural = import_neural()
        generator = import_torch().Generator(device="cpu")
        return [
            load_arrays(neural.make_network(self.encoder_, *self.sizes_, 0.0, generator), arrays)
            for arrays in self.weights_
        ]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_iter_")


# ---------------------------------------------------------------------- small parts


def _module_from_outside(encoder: Any, n_features: int, n_outputs: int) -> Any:
    torch = import_torch()
    module = copy.deepcopy(encoder) if isinstance(encoder, torch.nn.Module) else encoder(n_features, n_outputs)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"encoder: the function returned a {type(module).__name__}, expected a torch module.")
    return module.float()


def _sum_scale(data: EncoderData) -> float:
    """Spread of h + Ah for independent h of spread 1, on average over nodes."""
    return math.sqrt(1.0 + float(np.sum(np.square(data.matrix.data, dtype=np.float64))) / len(data.x))


def _log_degree(covered: Covered) -> Array:
    """log(1 + in-neighbours) of all nodes with covariates."""
    return np.log1p(np.diff(covered.matrix("binary").indptr).astype(np.float64))


def _without_edges(columns: Float, device: Any) -> EncoderData:
    """Rows of hop features as nodes between which nothing passes."""
    x = np.array(columns, dtype=np.float32)
    n = len(x)
    return EncoderData(x, sparse.csr_array((n, n), dtype=np.float32), "sign", True, np.arange(n), device)


def _threads(device: Any, n: int) -> AbstractContextManager[None]:
    return single_threaded() if device.type == "cpu" and n <= encoder_outputs.LARGE_GRAPH else nullcontext()
