"""Parameters of the graph networks, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from causalkit.graph import encoder_outputs
from causalkit.nn.splits import check_number
from causalkit.nn.training import TrainingOptions
from causalkit.validation import check_choice, check_integer

__all__ = ["ENCODERS", "EncoderPlan", "check_plan", "fanout_in_use"]

ENCODERS = ("sign", "sage", "gcn", "gat", "gin")


@dataclass(frozen=True)
class EncoderPlan:
    """Checked parameters.

    Attributes
    ----------
    kind : str
        Encoder; "module" for a network of the user's own.
    options : TrainingOptions
        Of the training; its batch size is settled once the rows are known.
    batch_size : int or "auto"
        As given.
    hops, hidden, n_layers, heads, dropout, n_bags, validation_fraction, fanout
        As in ``GNNRegressor``.
    """

    kind: str
    hops: int
    hidden: int
    n_layers: int
    heads: int
    dropout: float
    n_bags: int
    validation_fraction: float
    fanout: tuple[int, ...]
    options: TrainingOptions
    batch_size: int | str


def check_plan(estimator: Any) -> EncoderPlan:
    """Check the parameters of GNNRegressor or GNNClassifier."""
    kind = estimator.encoder
    if isinstance(kind, str):
        check_choice(kind, "encoder", ENCODERS)
    elif callable(kind):
        kind = "module"
    else:
        raise ValueError(
            f"encoder must be one of {', '.join(map(repr, ENCODERS))}, a torch module with forward(x, adjacency), "
            f"or a function (n_features, n_outputs) that returns one; got {kind!r}."
        )
    dropout = check_number(estimator.dropout, "dropout", above_zero=False)
    if dropout >= 1:
        raise ValueError(f"dropout must be at least 0 and below 1; got {estimator.dropout!r}.")
    share = check_number(estimator.validation_fraction, "validation_fraction", above_zero=True)
    if share >= 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, both excluded; got {share:g}.")
    check_integer(estimator.verbose, "verbose", low=0)
    batch = estimator.batch_size
    if isinstance(batch, str):
        check_choice(batch, "batch_size", ("auto",))
    options = TrainingOptions.checked(
        max_epochs=estimator.max_iter,
        batch_size=1 if isinstance(batch, str) else batch,
        learning_rate=estimator.learning_rate,
        weight_decay=estimator.weight_decay,
        patience=estimator.patience,
    )
    plan = EncoderPlan(
        kind=kind,
        hops=check_integer(estimator.hops, "hops", low=0),
        hidden=check_integer(estimator.hidden, "hidden", low=1),
        n_layers=check_integer(estimator.n_layers, "n_layers", low=1),
        heads=check_integer(estimator.heads, "heads", low=1),
        dropout=dropout,
        n_bags=check_integer(estimator.n_bags, "n_bags", low=1),
        validation_fraction=share,
        fanout=_check_fanout(estimator.fanout),
        options=options,
        batch_size=batch,
    )
    if kind == "gat" and plan.hidden % plan.heads:
        raise ValueError(f"hidden={plan.hidden} must be a multiple of heads={plan.heads}, which share its columns.")
    return plan


def _check_fanout(value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple) or len(value) == 0:
        raise ValueError(f"fanout must be a tuple with one number of neighbours per layer, as (10, 10); got {value!r}.")
    return tuple(check_integer(part, "fanout", low=1) for part in value)


def fanout_in_use(plan: EncoderPlan, kind: str, n_nodes: int, n_rows: int) -> tuple[int, ...] | None:
    """Neighbours per layer, or None for training on the whole graph."""
    batches = not isinstance(plan.batch_size, str) and plan.batch_size < n_rows
    if kind == "module" or not (n_nodes > encoder_outputs.LARGE_GRAPH or batches):
        return None
    if kind == "sign":  # nothing is passed along edges: batches of rows are enough
        return (1,) * plan.n_layers
    if len(plan.fanout) != plan.n_layers:
        raise ValueError(
            f"fanout must have one entry per layer: expected {plan.n_layers} (n_layers), got {len(plan.fanout)}: "
            f"{plan.fanout}."
        )
    return plan.fanout
