"""The trial: checked inputs, and the downstream estimator that the user asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.calibration_sample import FEW_CLUSTERS, warn_few_clusters
from causalkit.debiasing.downstream import (
    Downstream,
    TrialRows,
    contrast_names,
    difference_functional,
    regression_functional,
    weighting_functional,
)
from causalkit.exceptions import OverlapWarning
from causalkit.inference.covariance import cluster_sums
from causalkit.seeds import root_seed
from causalkit.validation import (
    Groups,
    Treatment,
    check_choice,
    check_groups,
    check_matrix,
    check_probability,
    check_same_index,
    check_sample_weight,
    check_treatment,
    check_vector,
)

__all__ = ["ESTIMATORS", "Trial", "check_trial", "choose_downstream"]

Array = NDArray[np.float64]

ESTIMATORS = ("difference", "hajek", "horvitz_thompson", "ols", "aipw", "did")
_EXTREME = 0.01


@dataclass(frozen=True)
class Trial:
    """Checked trial rows.

    Attributes
    ----------
    predictions : ndarray, shape (n,)
    rows : TrialRows
    treatment : Treatment, optional
        Coded treatment; None where it is continuous.
    dose : ndarray, shape (n,), optional
        Continuous treatment.
    dose_name : str
        Its name.
    confounders : ndarray, shape (n, p), optional
    propensity : ndarray, shape (n, L), optional
    post : ndarray of bool, shape (n,), optional
    unit : Groups, optional
    """

    predictions: Array
    rows: TrialRows
    treatment: Treatment | None = None
    dose: Array | None = None
    dose_name: str = "treatment"
    confounders: Array | None = None
    propensity: Array | None = None
    post: Array | None = None
    unit: Groups | None = None

    def take(self, index: NDArray[np.intp]) -> Trial:
        """Rows at these positions, repeats allowed."""

        def pick(values: Any) -> Any:
            return None if values is None else values[index]

        def regroup(groups: Groups | None) -> Groups | None:
            return None if groups is None else Groups(groups.codes[index], groups.labels)

        treatment = None if self.treatment is None else Treatment(self.treatment.codes[index], self.treatment.levels)
        rows = replace(self.rows, n=len(index), weight=pick(self.rows.weight), groups=regroup(self.rows.groups))
        return replace(
            self,
            predictions=self.predictions[index],
            rows=rows,
            treatment=treatment,
            dose=pick(self.dose),
            confounders=pick(self.confounders),
            propensity=pick(self.propensity),
            post=pick(self.post),
            unit=regroup(self.unit),
        )


def check_trial(
    predictions: Any,
    *,
    treatment: Any,
    estimator: str = "difference",
    confounders: Any = None,
    propensity: Any = None,
    post: Any = None,
    unit: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    frequency: bool = False,
) -> Trial:
    """Check everything that describes the trial before any work."""
    check_choice(estimator, "estimator", ESTIMATORS)
    _refuse_ignored(estimator, confounders=confounders, propensity=propensity, post=post, unit=unit)
    for other, label in (
        (treatment, "treatment"),
        (confounders, "confounders"),
        (propensity, "propensity"),
        (post, "post"),
        (unit, "unit"),
        (sample_weight, "sample_weight"),
        (groups, "groups"),
    ):
        check_same_index(predictions, other, ("predictions", label))
    x = check_vector(predictions, "predictions")
    n = len(x)
    weight = check_sample_weight(sample_weight, n, like="predictions")
    units = check_groups(unit, n, name="unit", like="predictions")
    clusters = check_groups(groups, n, like="predictions")
    if clusters is None and estimator == "did":
        clusters = units  # repeated rows of a unit are dependent
    if clusters is not None and clusters.n_groups < FEW_CLUSTERS:
        warn_few_clusters(clusters.n_groups, "the trial", stacklevel=4)
    rows = TrialRows(n, weight, clusters, frequency)
    covariates = (
        None if confounders is None else check_matrix(confounders, "confounders", n_rows=n, like="predictions")[0]
    )
    trial = Trial(x, rows, confounders=covariates, unit=units)
    coded, dose = _code_treatment(treatment, n, estimator)
    if coded is not None:
        _check_arms(coded, weight, frequency)
    name = getattr(treatment, "name", None)
    trial = replace(trial, treatment=coded, dose=dose, dose_name=name if isinstance(name, str) else "treatment")
    if estimator in ("hajek", "horvitz_thompson", "aipw"):
        if propensity is None and covariates is None:
            raise ValueError(
                f'estimator="{estimator}" needs propensity (the known treatment probabilities) or confounders (to '
                "estimate them); got neither."
            )
        if estimator == "aipw" and covariates is None:
            raise ValueError('estimator="aipw" needs confounders for the outcome model; got None. Use "hajek" without.')
    if propensity is not None and coded is not None:
        trial = replace(trial, propensity=_level_probabilities(propensity, n, len(coded.levels)))
    if estimator == "did":
        trial = replace(trial, post=_check_post(post, n))
    return trial


_READS = {
    "difference": (),
    "hajek": ("confounders", "propensity"),
    "horvitz_thompson": ("confounders", "propensity"),
    "ols": ("confounders",),
    "aipw": ("confounders", "propensity"),
    "did": ("confounders", "post", "unit"),
}


def _refuse_ignored(estimator: str, **given: Any) -> None:
    """Refuse an argument that the estimator would not read: silence would look like adjustment."""
    for name, value in given.items():
        if value is not None and name not in _READS[estimator]:
            readers = [f'"{key}"' for key, names in _READS.items() if name in names]
            raise ValueError(
                f'{name} is not used by estimator="{estimator}": use estimator={" or ".join(readers)}, or leave it out.'
            )


def _code_treatment(treatment: Any, n: int, estimator: str) -> tuple[Treatment | None, Array | None]:
    if estimator != "ols":
        return check_treatment(treatment, n, like="predictions"), None
    array = np.asarray(treatment.to_numpy() if hasattr(treatment, "to_numpy") else treatment)
    if array.dtype == object:
        import pandas as pd

        array = pd.Series(array).infer_objects().to_numpy()
    if array.dtype.kind in "fiu":
        values = check_vector(treatment, "treatment", n_rows=n, like="predictions")
        if len(np.unique(values[: min(n, 10_000)])) > 2 or len(np.unique(values)) > 2:
            return None, values
    return check_treatment(treatment, n, like="predictions"), None


def _check_arms(treatment: Treatment, weight: Array | None, frequency: bool) -> None:
    """Every arm needs two rows of positive weight: one row says nothing of its own variance."""
    used = None if weight is None else (weight if frequency else (weight > 0).astype(float))
    size = np.bincount(treatment.codes, weights=used, minlength=len(treatment.levels))
    if (size >= 2).all():
        return
    worst = int(np.argmin(size))
    level = treatment.levels.tolist()[worst]
    if size[worst] <= 0:
        raise ValueError(f"treatment level {level!r} has no weight: every arm needs rows of positive sample_weight.")
    raise ValueError(
        f"treatment level {level!r} has {size[worst]:g} row of positive weight: expected at least two in every arm, "
        "because one row has no variance. Merge the level with another or drop it."
    )


def _level_probabilities(propensity: Any, n: int, n_levels: int) -> Array:
    checked = check_probability(propensity, "propensity", n_rows=n, like="predictions")
    if checked.ndim == 1:
        if n_levels != 2:
            raise ValueError(
                f"propensity has one column for {n_levels} treatment levels: expected shape ({n}, {n_levels}), one "
                "column per level in sorted order."
            )
        checked = np.column_stack([1 - checked, checked])
    elif checked.shape[1] != n_levels:
        raise ValueError(f"propensity has {checked.shape[1]} columns, expected one per treatment level: {n_levels}.")
    warn_overlap(checked)
    return checked


def warn_overlap(propensity: Array, stacklevel: int = 5) -> Array:
    """Warn where probabilities leave [.01, .99]; returns them unchanged."""
    share = float(((propensity < _EXTREME) | (propensity > 1 - _EXTREME)).any(axis=1).mean())
    if share > 0:
        warnings.warn(
            f"propensity lies outside [.01, .99] on {100 * share:.3g} % of the rows: a few rows carry the estimate. "
            "Trim the population or report an overlap-weighted effect.",
            OverlapWarning,
            stacklevel=stacklevel,
        )
    return propensity


def _check_post(post: Any, n: int) -> Array:
    if post is None:
        raise ValueError('estimator="did" needs post (1 after the treatment started, 0 before); got None.')
    values = check_vector(post, "post", n_rows=n, like="predictions")
    levels = np.unique(values)
    if len(levels) != 2:
        raise ValueError(f"post must have two values (before and after); got {levels[:5].tolist()}.")
    return (values == levels[1]).astype(float)


# ---------------------------------------------------------------------- downstream estimators


def choose_downstream(
    trial: Trial,
    estimator: str,
    *,
    outcome_model: Any = None,
    treatment_model: Any = None,
    cv: Any = 5,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> Downstream:
    """Build the downstream estimator for checked trial rows."""
    if estimator == "ols":
        return _ols(trial)
    treatment = trial.treatment
    if treatment is None:
        raise ValueError('a continuous treatment needs estimator="ols".')
    if estimator == "difference":
        return difference_functional(treatment, trial.rows)
    if estimator == "did":
        return _did(trial, treatment)
    if estimator == "aipw":
        return _aipw(trial, treatment, outcome_model, treatment_model, cv, n_jobs, random_state)
    propensity, scores = trial.propensity, None
    if propensity is None:
        propensity, scores = _logistic_propensity(trial, treatment)
        warn_overlap(propensity, stacklevel=4)
    return weighting_functional(treatment, propensity, trial.rows, normalised=estimator == "hajek", scores=scores)


def _logistic_propensity(trial: Trial, treatment: Treatment) -> tuple[Array, Array]:
    """Unpenalised (multinomial) logistic probabilities with their scores, n·score on the sum scale."""
    from sklearn.linear_model import LogisticRegression

    covariates = np.asarray(trial.confounders)
    spread = covariates.std(axis=0)
    scaled = (covariates - covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    scaled = scaled[:, spread > 0]
    solver = "newton-cholesky" if len(treatment.levels) == 2 else "lbfgs"
    model = LogisticRegression(C=np.inf, solver=solver, tol=1e-8, max_iter=2000)
    with warnings.catch_warnings():
        # C=inf is how to ask for no penalty since scikit-learn 1.8, which still warns that penalty=None ignores C.
        warnings.filterwarnings("ignore", "Setting penalty=None", UserWarning)
        model.fit(scaled, treatment.codes, sample_weight=trial.rows.weight)
    probabilities = model.predict_proba(scaled)
    surprise = np.eye(len(treatment.levels))[treatment.codes] - probabilities
    # Under complete separation the likelihood has no maximum: iterations stop wherever every row is predicted.
    if np.abs(surprise).max() < 1e-4 or not ((probabilities > 1e-12) & (probabilities < 1 - 1e-12)).all():
        raise ValueError(
            "confounders separate the treatment levels: fitted treatment probabilities reach 0 or 1, so there is no "
            "overlap. Drop the confounder that determines treatment, or restrict the population."
        )
    design = np.column_stack([np.ones(len(scaled)), scaled])
    scores = np.column_stack([design * surprise[:, [level]] for level in range(1, len(treatment.levels))])
    return probabilities, scores if trial.rows.weight is None else scores * trial.rows.weight[:, None]


def _ols(trial: Trial) -> Downstream:
    n = trial.rows.n
    if trial.dose is not None:
        names: tuple[str, ...] = (trial.dose_name,)
        columns = trial.dose[:, None]
    elif trial.treatment is not None:
        levels = np.arange(1, len(trial.treatment.levels))
        columns = (trial.treatment.codes[:, None] == levels).astype(float)
        names = contrast_names(trial.treatment.levels)
    pieces = [np.ones((n, 1)), columns]
    if trial.confounders is not None:
        pieces.append(trial.confounders)
    return regression_functional(np.hstack(pieces), list(range(1, 1 + columns.shape[1])), names, trial.rows)


def _did(trial: Trial, treatment: Treatment) -> Downstream:
    """Two-way design: arm and period effects (unit effects absorbed where units are given)."""
    post = np.asarray(trial.post)
    arms = (treatment.codes[:, None] == np.arange(1, len(treatment.levels))).astype(float)
    pieces = [arms * post[:, None], post[:, None]]
    if trial.confounders is not None:
        pieces.append(trial.confounders)
    targets = list(range(arms.shape[1]))
    names = contrast_names(treatment.levels)
    if trial.unit is None:
        design = np.hstack([*pieces, arms, np.ones((trial.rows.n, 1))])
        return regression_functional(design, targets, names, trial.rows)
    within = _demean(np.hstack([*pieces, arms]), trial.unit, trial.rows.weight)
    # Arms that never change within a unit vanish after absorbing the unit effects.
    spread = np.sqrt((within**2).mean(axis=0))
    lost = [name for name, s in zip(names, spread, strict=False) if s <= 1e-10]
    if lost:
        raise ValueError(
            f'estimator="did" with unit needs units seen before and after in each arm; no unit changes for {lost}. '
            "Check that unit labels repeat over post."
        )
    unit, weight = trial.unit, trial.rows.weight
    return regression_functional(
        within[:, spread > 1e-10],
        targets,
        names,
        trial.rows,
        absorb=lambda y: _demean(y[:, None], unit, weight)[:, 0],
        # Effects that are nested in clusters do not use up degrees of freedom.
        n_absorbed=0 if _nested(unit, trial.rows.groups) else unit.n_groups,
    )


def _nested(unit: Groups, groups: Groups | None) -> bool:
    """Whether every unit lies in one cluster."""
    if groups is None:
        return False
    cluster = np.zeros(unit.n_groups, dtype=np.intp)
    cluster[unit.codes] = groups.codes
    return bool(np.array_equal(cluster[unit.codes], groups.codes))


def _demean(columns: Array, unit: Groups, weight: Array | None) -> Array:
    w = np.ones(len(columns)) if weight is None else weight
    mass = np.bincount(unit.codes, weights=w, minlength=unit.n_groups)
    sums = cluster_sums(columns * w[:, None], unit.codes, unit.n_groups)
    return columns - (sums / np.where(mass > 0, mass, 1.0)[:, None])[unit.codes]


def _aipw(
    trial: Trial,
    treatment: Treatment,
    outcome_model: Any,
    treatment_model: Any,
    cv: Any,
    n_jobs: int | None,
    random_state: Any,
) -> Downstream:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    from causalkit.crossfit import CrossFitter
    from causalkit.debiasing.doubly_robust import DoublyRobustFunctional

    if not isinstance(random_state, int | np.integer):
        # One seed for every fit of this effect: each nuisance and each column must see the same folds.
        random_state = root_seed(random_state)

    return DoublyRobustFunctional(
        treatment,
        np.asarray(trial.confounders),
        trial.propensity,
        trial.rows,
        outcome_model=LinearRegression() if outcome_model is None else outcome_model,
        treatment_model=LogisticRegression(max_iter=1000) if treatment_model is None else treatment_model,
        splitter=CrossFitter(cv=cv, n_jobs=n_jobs, random_state=random_state),
        clip=partial(warn_overlap, stacklevel=6),
    )
