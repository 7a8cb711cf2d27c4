"""Section B: the published design, whose effect hardly varies, and the published recipe on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import installed
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.graph.baselines import difference_in_means
from benchmarks.validation.graph.common import bias_row, draws, fit, joined, relative, squared
from benchmarks.validation.graph.published import ARMS, published_recipe

__all__ = ["accuracy", "constant_draws", "encoders", "grid", "rows"]

Draws = dict[str, NDArray[np.float64]]

_LESS = -np.inf
_SEED = {"ba": 60_500, "sbm": 60_510, "er": 60_520}
# Mean squared errors of the recipe over 30 draws, and how far another 30 may be.
_LISTED = {
    "mlp_linear": ("perceptron nuisances, linear effect", 4.82, 0.4),
    "gcn_linear": ("convolution nuisances, linear effect", 4.17, 0.4),
    "mlp_gcn": ("perceptron nuisances, convolution effect", 0.570, 0.15),
    "t_gcn": ('"T-learner"', 2.38, 0.4),
    "gcn_gcn": ("convolution nuisances, convolution effect", 0.517, 0.15),
}


def _sample(rng: np.random.Generator, graph: str, effect: str = "simple_h") -> Any:
    from causalkit.datasets import make_graph_paper

    return make_graph_paper(1000, graph=graph, effect=effect, random_state=rng)


def _graph_only(sample: Any, r: int) -> Any:
    """Perceptrons on graph features alone in all three roles, nothing chosen between."""
    from causalkit.graph import GNNClassifier, GNNRegressor

    return fit(
        sample,
        r,
        outcome_model=GNNRegressor(random_state=r),
        treatment_model=GNNClassifier(random_state=r),
        nuisance_features="graph",
        final_features="graph",
        final_model="neural",
    )


def _cells(sample: Any, r: int, learner: Any) -> dict[str, float]:
    """The 2×2 grid on the draw of a default fit, which is its last cell."""
    own = fit(sample, r, nuisance_features="own")
    found = {"own_graph": squared(own.effect_, sample.effect), "graph_graph": squared(learner.effect_, sample.effect)}
    for name, nuisances in (("own", own), ("graph", learner)):
        final = fit(
            sample,
            r,
            final_features="own",
            outcome_predictions=nuisances.outcome_prediction_,
            treatment_predictions=nuisances.treatment_prediction_,
        )
        found[f"{name}_own"] = squared(final.effect_, sample.effect)
    return found


def _simple(rng: np.random.Generator, r: int, graph: str, only: bool, cells: bool) -> Mapping[str, float]:
    sample = _sample(rng, graph)
    learner = fit(sample, r)
    found = {
        "default": squared(learner.effect_, sample.effect),
        "default_bias": float((learner.effect_ - sample.effect).mean()),
        "means": squared(np.full(len(sample.y), difference_in_means(sample)), sample.effect),
        "variance": float(sample.effect.var()),
    }
    if cells:
        found |= _cells(sample, r, learner)
    if only:
        alone = _graph_only(sample, r)
        found["only"] = squared(alone.effect_, sample.effect)
        found["only_bias"] = float((alone.effect_ - sample.effect).mean())
    return found


def _recipe(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    sample = _sample(rng, "ba")
    effects = published_recipe(sample, r)
    found = {name: squared(effect, sample.effect) for name, effect in effects.items()}
    return found | {f"{name}_bias": float((effect - sample.effect).mean()) for name, effect in effects.items()}


def _local(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    sample = _sample(rng, "ba", "local_x")
    return {
        "default": relative(fit(sample, r).effect_, sample.effect),
        "only": relative(_graph_only(sample, r).effect_, sample.effect),
    }


@cache
def _graphs(tier: Tier, graph: str) -> tuple[Draws, Draws]:
    """All draws of a graph, and those with the 2×2 grid (none but on BA)."""
    size, gridded = (tier.size(30, 10), tier.size(6, 3)) if graph == "ba" else (tier.size(5, 2), 0)
    settings = {"seed": _SEED[graph], "graph": graph, "only": installed("torch")}
    rest = draws(tier, _simple, range(gridded, size), cells=False, **settings)
    if not gridded:
        return rest, {}
    first = draws(tier, _simple, range(gridded), cells=True, **settings)
    return joined(first, rest), first


def rows(tier: Tier) -> Iterator[Row]:
    """B7 BA, B8 SBM and ER, B9 local effects, B12 the recipe, B13 draws without heterogeneity."""
    found, _ = _graphs(tier, "ba")
    what = "published design, BA, n=1000"
    yield tier.mean_within("B7.1", f"{what}: default, mean squared error", found["default"], _LESS, 0.03)
    yield bias_row(tier, "B7.2", f"{what}: default, mean bias of the effects", found["default_bias"], 0.10)
    if "only" in found:
        yield tier.mean_within("B7.3", f"{what}: graph features only, nothing chosen", found["only"], _LESS, 0.08)
        yield bias_row(tier, "B7.4", f"{what}: graph features only, mean bias", found["only_bias"], 0.20)
    note = "beats the recipe as well: the effect hardly varies"
    yield recorded("B7.5", f"{what}: difference in means as the effect of all", found["means"].mean(), note)
    yield recorded("B7.6", f"{what}: variance of the effect", found["variance"].mean())
    for number, graph in enumerate(("sbm", "er")):
        found, _ = _graphs(tier, graph)
        what = f"published design, {graph.upper()}, n=1000"
        yield tier.mean_within(f"B8.{2 * number + 1}", f"{what}: default", found["default"], _LESS, 0.03)
        if "only" in found:
            words = f"{what}: graph features only, nothing chosen"
            yield tier.mean_within(f"B8.{2 * number + 2}", words, found["only"], _LESS, 0.06)
    if not installed("torch_geometric"):
        for label, words in (("B9", "published design, effect of own covariates"), ("B12", "published recipe")):
            yield skipped(label, words, "torch_geometric is not installed: pip install -e '.[graph]'")
        return
    local = draws(tier, _local, range(tier.size(5, 2)), seed=60_530)
    what = "published design, effect of own covariates, error/Var(τ)"
    yield tier.mean_within("B9.1", f"{what}: default", local["default"], _LESS, 0.35)
    yield tier.mean_within("B9.2", f"{what}: graph features only, nothing chosen", local["only"], _LESS, 0.80)
    yield from _recipe_rows(tier)


def _recipe_rows(tier: Tier) -> Iterator[Row]:
    # Ninety draws: the level of the effect, on which the linear arms hang, differs by .1 between sets of thirty.
    found = draws(tier, _recipe, range(tier.size(90, 10)), seed=_SEED["ba"])
    for number, name in enumerate(ARMS):
        words, listed, tolerance = _LISTED[name]
        yield tier.mean_near(f"B12.{number + 1}", f"published recipe: {words}", found[name], listed, tolerance)
    note = "the same regression with a constant effect beside the linear one"
    for number, kind in enumerate(("mlp", "gcn")):
        words = _LISTED[f"{kind}_linear"][0]
        value = found[f"{kind}_linear_intercept"].mean()
        yield recorded(f"B12.{number + 6}", f"published recipe: {words} with a constant", value, note)
    yield recorded("B12.8", "published recipe: mean bias of its best arm", found["gcn_gcn_bias"].mean())


def grid(tier: Tier) -> Iterator[Row]:
    """G2: nuisances and final stage with and without the graph on the published design."""
    _, found = _graphs(tier, "ba")
    names = {"own": "own covariates", "graph": "graph"}
    number = 0
    for nuisance in names:
        for final in names:
            number += 1
            values = found[f"{nuisance}_{final}"]
            what = f"published design, BA: nuisances {names[nuisance]}, final stage {names[final]}"
            yield recorded(f"G2.{number}", f"{what}, mean squared error", values.mean(), f"{len(values)} draws")


def constant_draws(count: int, *, most: int = 400) -> list[Any]:
    """First draws of the published design in which no node has a varying effect."""
    kept: list[Any] = []
    for r in range(most):
        if len(kept) == count:
            break
        sample = _sample(np.random.default_rng([_SEED["ba"], r]), "ba")
        if sample.effect.var() < 1e-20:
            kept.append(sample)
    return kept


def degenerate(tier: Tier) -> Iterator[Row]:
    """B13: draws of the published design whose effect is the same for all."""
    errors = [squared(fit(sample, 0).effect_, sample.effect) for sample in constant_draws(tier.size(3, 1))]
    what = "published design, draws with one effect for all: largest mean squared error"
    yield at_most("B13", what, max(errors), 0.03, note=f"{len(errors)} draws")


def accuracy(model: Any, sample: Any, folds: Any, **given: Any) -> float:
    """Share of held-out nodes whose treatment is the likelier one."""
    hits = []
    for train, test in folds:
        fitted = model.fit(sample.X[train], sample.treatment[train], **{k: v(train) for k, v in given.items()})
        proba = fitted.predict_proba(sample.X[test], **{k: v(test) for k, v in given.items()})
        hits.append((proba[:, 1] > 0.5) == (sample.treatment[test] == 1))
    return float(np.concatenate(hits).mean())


def _encoder_draw(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    from causalkit.graph import GNNClassifier, Graph, GraphKFold

    sample = _sample(rng, "ba")
    graph = Graph.from_scipy(sample.adjacency).with_features(sample.X)
    empty = Graph.from_edges(np.empty((0, 2), int), n_nodes=len(sample.y)).with_features(sample.X)
    folds = list(GraphKFold(5, random_state=r).split(sample.X, graph=graph))
    found = {}
    for encoder in ("sign", "sage", "gcn", "gat", "gin"):
        model = GNNClassifier(encoder=encoder, random_state=r)
        found[encoder] = accuracy(model, sample, folds, graph=lambda rows: graph, nodes=lambda rows: rows)
    own = GNNClassifier(encoder="sign", hops=0, random_state=r)
    found["own"] = accuracy(own, sample, folds, graph=lambda rows: empty, nodes=lambda rows: rows)
    found["gcn_bare"] = _bare(sample, folds, r)
    return found


def _bare(sample: Any, folds: Any, seed: int) -> float:
    """A convolution that sees a node's own covariates only as one of its deg + 1 neighbours."""
    import torch

    from benchmarks.validation.graph import published

    torch.manual_seed(seed)
    X, t = (torch.as_tensor(part, dtype=torch.float32) for part in (sample.X, sample.treatment))
    edges = torch.as_tensor(np.stack(sample.adjacency.nonzero()), dtype=torch.long)
    hits = []
    for train, test in folds:
        rows = torch.as_tensor(train)
        output = published.trained_output(
            X, edges, lambda out, k=rows: torch.nn.functional.binary_cross_entropy_with_logits(out[k], t[k]), 400
        )
        hits.append((output[test] > 0) == (sample.treatment[test] == 1))
    return float(np.concatenate(hits).mean())


def encoders(tier: Tier) -> Iterator[Row]:
    """B14: no encoder loses a node's own covariates."""
    if not installed("torch_geometric"):
        reason = "torch_geometric is not installed: pip install -e '.[graph]'"
        yield skipped("B14", "accuracy of the treatment by encoder", reason)
        return
    found = draws(tier, _encoder_draw, range(tier.size(6, 2)), seed=_SEED["ba"])
    for number, encoder in enumerate(("sign", "sage", "gcn", "gat", "gin")):
        what = f"published design: accuracy for the treatment, {encoder} less own covariates alone"
        note = f"{found[encoder].mean():.3f} against {found['own'].mean():.3f}"
        yield tier.mean_within(f"B14.{number + 1}", what, found[encoder] - found["own"], -0.03, 1.0, note)
    what = "published design: accuracy for the treatment, convolution without own path"
    yield recorded("B14.6", what, found["gcn_bare"].mean(), "the recipe's network, 400 steps")
