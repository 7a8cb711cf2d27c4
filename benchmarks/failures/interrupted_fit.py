"""One fit that is stopped half-way, in a process of its own: ``python -m benchmarks.failures.interrupted_fit``.

Arguments: the family, and seconds of processor time after which the keyboard interrupt comes, or "kill" for a worker
that is killed. Prints one JSON line: how the fit ended and what it left in the estimator.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import FunctionTransformer

import causalkit as ck

__all__ = ["FITS", "main"]


class KilledInWorker(RegressorMixin, BaseEstimator):
    """A model whose process is killed while it fits, as by a system that runs out of memory."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KilledInWorker:
        """Kill the process, unless it is the user's own."""
        if multiprocessing.parent_process() is None:
            raise RuntimeError("the fit ran in the main process")
        os.kill(os.getpid(), signal.SIGKILL)
        return self

    def predict(self, X: Any) -> Any:
        """Never reached."""
        return np.zeros(len(X))


def _correction(kill: bool) -> tuple[Any, Callable[[Any], Any]]:
    rng = np.random.default_rng(0)
    y = rng.normal(size=400_000)
    predictions = 0.6 * y + 0.4 * rng.normal(size=len(y))
    return ck.TweedieCorrection(random_state=0), lambda model: model.fit(predictions, y)


def _network(kill: bool) -> tuple[Any, Callable[[Any], Any]]:
    X = np.random.default_rng(0).gamma(2.0, size=(300, 80))
    model = ck.CompositionalPartialCorrelation(shrinkage="basis", test="permutation", n_resamples=3000, random_state=0)
    return model, lambda model: model.fit(X)


def _boosting(kill: bool) -> tuple[Any, Callable[[Any], Any]]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 8))
    shift = ck.augmentation.augmenters.NullSpaceShift(np.eye(1, 8), scale=0.5)
    model = ck.IVLikeBoostingRegressor(augmentation=shift, max_iter=500, random_state=0)
    return model, lambda model: model.fit(X, X[:, 0] + rng.normal(size=len(X)))


def _reward(kill: bool) -> tuple[Any, Callable[[Any], Any]]:
    rng = np.random.default_rng(0)
    X, age = rng.normal(size=(6000, 6)), rng.normal(size=6000)
    slow = KilledInWorker() if kill else RandomForestRegressor(200, random_state=0)
    model = ck.RewardDeconfounder(outcome_model=slow, timing="before", n_jobs=2, random_state=0)
    return model, lambda model: model.fit(X, X[:, 0] + age, confounders=age[:, None])


def _effects(kill: bool) -> tuple[Any, Callable[[Any], Any]]:
    rng = np.random.default_rng(0)
    n = 3000
    graph = ck.Graph.from_edges([(i, (i + step) % n) for i in range(n) for step in (1, 7, 31)], n_nodes=n)
    X, treatment = rng.normal(size=(n, 4)), rng.integers(0, 2, n)
    slow = KilledInWorker() if kill else RandomForestRegressor(200, random_state=0)
    model = ck.GraphRLearner(
        outcome_model=slow, final_model="linear", nuisance_features="own", n_jobs=2 if kill else None, random_state=0
    )
    return model, lambda model: model.fit(X, X[:, 0] + treatment, treatment=treatment, graph=graph)


def _curve(kill: bool) -> tuple[Any, Callable[[Any], Any]]:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (3000, 1))
    hidden = 2 * actions + rng.normal(size=actions.shape)
    model = ck.Rep4Ex(encoder=FunctionTransformer(), random_state=0)
    return model, lambda model: model.fit(actions, hidden[:, 0] ** 2, features=hidden)


FITS: dict[str, Callable[[bool], tuple[Any, Callable[[Any], Any]]]] = {
    "debiasing": _correction,
    "composition": _network,
    "augmentation": _boosting,
    "rewards": _reward,
    "graph": _effects,
    "extrapolation": _curve,
}


def _interrupt(signal_number: int, frame: types.FrameType | None) -> None:
    """What a terminal does at Ctrl-C: the signal goes to every process of the group."""
    os.killpg(os.getpgid(0), signal.SIGINT)


def main(family: str, when: str) -> None:
    """Fit, be stopped, and say what is left."""
    warnings.simplefilter("ignore")
    model, fit = FITS[family](when == "kill")
    if when != "kill":
        signal.signal(signal.SIGPROF, _interrupt)
        signal.setitimer(signal.ITIMER_PROF, float(when))
    ended = "finished"
    try:
        with joblib.parallel_config("loky"):
            fit(model)
    except KeyboardInterrupt:
        ended = "KeyboardInterrupt"
    except Exception as error:  # its class is what is reported
        ended = type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    left = [name for name in vars(model) if name.endswith("_") and not name.startswith("__")]
    print(json.dumps({"ended": ended, "left": left}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
