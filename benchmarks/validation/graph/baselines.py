"""Estimators of effects that a graph R-learner has to compare with: arms apart, and other packages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["arm_forest", "arm_network", "boosting", "causal_forest", "difference_in_means", "nonparametric"]

Array = NDArray[np.float64]
Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def difference_in_means(sample: Any) -> float:
    """Treated mean less untreated mean."""
    treated = sample.treatment == 1
    return float(sample.y[treated].mean() - sample.y[~treated].mean())


def arm_forest(features: Array, sample: Any, folds: Folds, seed: int) -> Array:
    """Difference of two forests, one per arm, at held-out rows; leaves and columns as in the forest of the pool."""
    from sklearn.ensemble import RandomForestRegressor

    effect = np.empty(len(sample.y))
    for train, test in folds:
        for arm, sign in ((1, 1.0), (0, -1.0)):
            rows = train[sample.treatment[train] == arm]
            forest = RandomForestRegressor(200, min_samples_leaf=5, max_features=0.5, random_state=seed)
            predicted = forest.fit(features[rows], sample.y[rows]).predict(features[test])
            effect[test] = sign * predicted if arm else effect[test] + sign * predicted
    return effect


def arm_network(features: Array, sample: Any, folds: Folds, seed: int, n_bags: int = 1) -> Array:
    """Difference of two perceptrons, one per arm, at held-out rows; the perceptron of the pool, averaged over bags."""
    from causalkit.nn import fit_stacked_mlp

    effect = np.empty(len(sample.y))
    for k, (train, test) in enumerate(folds):
        for arm, sign in ((1, 1.0), (0, -1.0)):
            rows = train[sample.treatment[train] == arm]
            model = fit_stacked_mlp(features[rows], sample.y[rows], n_bags=n_bags, seed=1000 * seed + 2 * k + arm)
            predicted = np.asarray(model.predict(features[test])).reshape(-1)
            effect[test] = sign * predicted if arm else effect[test] + sign * predicted
    return effect


def causal_forest(features: Array, sample: Any, seed: int, *, fitted: bool = False) -> Any:
    """Effects of econml's ``CausalForestDML`` with default nuisances, at the rows that it was fitted on."""
    from econml.dml import CausalForestDML

    model = CausalForestDML(discrete_treatment=True, cv=5, n_estimators=500, n_jobs=1, random_state=seed)
    model.fit(sample.y, sample.treatment, X=features)
    return model if fitted else np.asarray(model.const_marginal_effect(features)).reshape(-1)


def boosting(classifier: bool = False, **options: Any) -> Any:
    """Histogram boosting with early stopping."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return (HistGradientBoostingClassifier if classifier else HistGradientBoostingRegressor)(**options)


def nonparametric(features: Array, sample: Any, seed: int) -> Array:
    """Effects of econml's ``NonParamDML`` with histogram boosting in all three roles, at the rows of the fit."""
    from econml.dml import NonParamDML

    model = NonParamDML(
        model_y=boosting(random_state=seed),
        model_t=boosting(True, random_state=seed),
        model_final=boosting(random_state=seed),
        discrete_treatment=True,
        cv=5,
        random_state=seed,
    )
    model.fit(sample.y, sample.treatment, X=features)
    return np.asarray(model.const_marginal_effect(features)).reshape(-1)
