"""IVLikeRegressorCV: IVLikeRegressor with alpha chosen by a named rule."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, check_cv

from causalkit.atomic_fit import atomic_fit
from causalkit.augmentation.linear_base import DEFAULT_ALPHAS, BaseIVLikeRegressor
from causalkit.augmentation.linear_inputs import FitInput, check_alphas, refuse_one_cluster
from causalkit.augmentation.moments import Moments, merge_all
from causalkit.augmentation.pairs import Rows, moments_of_rows
from causalkit.augmentation.selection import (
    confounding_strength,
    generalised_cross_validation,
    held_out_r2,
    level_codes,
    partition,
    tolerance_alpha,
)
from causalkit.augmentation.solution import LinearProblem, exogenous_coef, intercept_of
from causalkit.exceptions import MethodNotApplicableError, PredictiveSelectionWarning
from causalkit.validation import check_choice

__all__ = ["IVLikeRegressorCV"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]

_RULES = ("cv", "level", "confounder_correction", "gcv", "tolerance")


class IVLikeRegressorCV(BaseIVLikeRegressor):
    r"""Linear IV-like regression with alpha chosen by a named rule.

    Estimand and estimator are those of :class:`IVLikeRegressor`; this class adds the choice of alpha. **No rule
    targets causal risk**, which the data do not identify: rules that score prediction prefer too large an alpha. In
    the linear design of Akbar et al. a fixed alpha = 0.1 comes closer to the truth than any of "cv", "level" and
    "confounder_correction".

    Parameters
    ----------
    alphas : array-like, shape (m,), optional
        Grid in [0, inf]; default 61 values from 1e-4 to 100 on the log scale. "tolerance" needs none.
    selection : {"cv", "level", "confounder_correction", "gcv", "tolerance"}, default="cv"
        - "cv": largest mean held-out R². Grouped where ``groups`` are given; the draws of a row stay with it.
        - "level": the same with whole levels of the parameters held out (continuous columns cut at mid-range).
        - "confounder_correction": the alpha whose :math:`\|h_\alpha\|^2` is nearest to
          :math:`(1 - \hat\beta)\|h_\infty\|^2` with β̂ the estimated strength of confounding (Janzing 2019). One
          outcome, at least two features; it depends on the units of the features.
        - "gcv": smallest E_n r²/(1 - df/n)²; not for "projected".
        - "tolerance": the alpha at which the mean squared change of the prediction under the augmentation, h'Bh,
          is ``tolerance`` times Var(y); not for "projected".
    tolerance : float, optional
        For "tolerance": 0 is the constrained fit; a value that augmented least squares already meets gives inf.
    evaluate_on : {"original", "augmented"}, default="original"
        Features of the held-out score of "cv" and "level".
    augmentation, penalty, n_draws, feature_map, ridge, fit_intercept, rank_tol
        As in :class:`IVLikeRegressor`.
    cv : int, splitter or iterable, default=5
        Splits of "cv" and "level".
    random_state, verbose
        As in :class:`IVLikeRegressor`; ``random_state`` keys the draws.

    Attributes
    ----------
    alphas_ : ndarray, shape (m,)
        The grid ("cv", "level", "gcv", "confounder_correction").
    scores_ : ndarray, shape (m, n_splits)
        Held-out R² ("cv", "level"), or the criterion of the rule with one column.
    cv_results_ : dict
        ``alpha``, ``mean_score``, ``std_score`` and one ``split{i}_score`` per split.
    alpha_, coef_, intercept_, ...
        As in :class:`IVLikeRegressor`.

    Raises
    ------
    MethodNotApplicableError
        A rule that does not apply to the penalty; the message names one that does.
    ValueError
        A tolerance that is missing or negative; too few levels.

    Warns
    -----
    PredictiveSelectionWarning
        "cv", "level" and "gcv" choose by prediction.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet & Dai 2025, arXiv:2510.25128. Janzing 2019, arXiv:1906.12179. The tolerance
    rule is this library's.

    Examples
    --------
    >>> from causalkit.augmentation import IVLikeRegressorCV
    >>> from causalkit.augmentation.augmenters import NullSpaceShift
    >>> from causalkit.datasets import make_linear_augmentation
    >>> data = make_linear_augmentation(2000, 4, random_state=0)
    >>> shift = NullSpaceShift(data.basis)
    >>> model = IVLikeRegressorCV(selection="tolerance", tolerance=0.001, augmentation=shift, random_state=0)
    >>> bool(model.fit(data.X, data.y).alpha_ < 1)
    True
    """

    def __init__(
        self,
        *,
        alphas: Any = None,
        selection: str = "cv",
        tolerance: float | None = None,
        evaluate_on: str = "original",
        augmentation: Any = None,
        penalty: str = "auto",
        n_draws: int | str = 1,
        feature_map: Any = None,
        ridge: float = 0.0,
        fit_intercept: bool = True,
        rank_tol: float = 1e-8,
        cv: Any = 5,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.alphas = alphas
        self.selection = selection
        self.tolerance = tolerance
        self.evaluate_on = evaluate_on
        self.augmentation = augmentation
        self.penalty = penalty
        self.n_draws = n_draws
        self.feature_map = feature_map
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.rank_tol = rank_tol
        self.cv = cv
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        instruments: Any = None,
        exogenous: Any = None,
        augmented: Any = None,
        augmentation_parameters: Any = None,
        groups: Any = None,
        sample_weight: Any = None,
    ) -> IVLikeRegressorCV:
        """Choose alpha, then fit to all rows.

        Parameters
        ----------
        X, y, instruments, exogenous, augmented, augmentation_parameters, groups, sample_weight
            As in :meth:`IVLikeRegressor.fit`; ``groups`` drive the splits too.

        Returns
        -------
        IVLikeRegressorCV
        """
        self._check_parameters()
        self._check_selection()
        grid = DEFAULT_ALPHAS if self.alphas is None else check_alphas(self.alphas)
        with atomic_fit(self):
            given = self._read(
                X,
                y,
                instruments=instruments,
                exogenous=exogenous,
                augmented=augmented,
                augmentation_parameters=augmentation_parameters,
                groups=groups,
                sample_weight=sample_weight,
            )
            refuse_one_cluster(given.groups)
            self._start_seed()
            self._source = self._make_source(given.rows, fit_map=True)
            variation = given.rows.variation
            self._refuse_inapplicable(given)
            n_draws = self._draws_per_row(variation)
            held_out, moments = self._held_out_moments(given)
            problem = self._problem_of(moments, variation, n_draws)
            alpha, scores = self._choose(grid, held_out, moments, problem, given, n_draws)
            self._finish(moments, problem, alpha, variation, given.exogenous_names, n_draws)
            self._warn_of_parameters(moments, variation)
            self._set_scores(grid, scores)
            self._held: FitInput | None = given
        if self.selection in ("cv", "level", "gcv") and len(np.unique(grid)) > 1 and variation.kind != "none":
            warnings.warn(
                f"selection={self.selection!r} chose alpha={alpha:.3g} by prediction, which prefers too large an alpha "
                'for the causal effect: hold alpha at 0.1 (0.01 where the invariance is exact), or use "tolerance".',
                PredictiveSelectionWarning,
                stacklevel=2,
            )
        return self

    # ------------------------------------------------------------------ rules

    def _check_selection(self) -> None:
        check_choice(self.selection, "selection", _RULES)
        check_choice(self.evaluate_on, "evaluate_on", ("original", "augmented"))
        if self.selection == "tolerance":
            value = self.tolerance
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if value is None or not number or not 0 <= value < np.inf:
                raise ValueError(
                    f'tolerance must be a number of at least 0 for selection="tolerance"; got {value!r}. It is the '
                    "mean squared change of the prediction under the augmentation as a share of Var(y), such as 0.001."
                )

    def _refuse_inapplicable(self, given: FitInput) -> None:
        penalty, rows = given.rows.variation.penalty, given.rows
        if self.selection in ("gcv", "tolerance") and penalty == "projected":
            reason = (
                "its degrees of freedom are p for every alpha" if self.selection == "gcv" else "it compares no pairs"
            )
            raise MethodNotApplicableError(
                f'selection="{self.selection}" does not apply to penalty="projected": {reason}. Use '
                'selection="confounder_correction" or "cv", or penalty="pointwise" with an augmentation.'
            )
        if self.selection == "tolerance" and rows.y.shape[1] > 1:
            raise MethodNotApplicableError('selection="tolerance" is for one outcome: fit the outcomes one at a time.')
        if self.selection == "confounder_correction" and (rows.X.shape[1] < 2 or rows.y.shape[1] > 1):
            raise MethodNotApplicableError(
                'selection="confounder_correction" needs one outcome and at least two features: use selection="cv".'
            )

    def _splits(self, given: FitInput) -> list[tuple[Integers, Integers]]:
        """Row numbers of training and test rows of every split; explicit splits may be masks."""
        splits = [(_row_numbers(train), _row_numbers(test)) for train, test in self._given_splits(given)]
        n = given.rows.n
        weight = np.ones(n) if given.rows.weight is None else given.rows.weight
        for i, split in enumerate(splits):
            for name, numbers in zip(("training", "test"), split, strict=True):
                outside = numbers[(numbers < 0) | (numbers >= n)]
                if len(outside) or not weight[numbers].sum() > 0:
                    got = f"row {outside[0]}" if len(outside) else f"{len(numbers)} rows of weight 0"
                    raise ValueError(
                        f"cv: the {name} rows of split {i} must be numbers from 0 to {n - 1}, some of positive weight; "
                        f"got {got}. Pass other splits, or drop rows of weight 0."
                    )
        if not splits:
            raise ValueError("cv must give at least one split; got none.")
        return splits

    def _given_splits(self, given: FitInput) -> list[tuple[Any, Any]]:
        n = given.rows.n
        groups = None if given.groups is None else given.groups.codes
        if self.selection == "level":
            codes = self._levels(given)
            splitter = GroupKFold(self.cv) if isinstance(self.cv, int | np.integer) else check_cv(self.cv)
            return list(splitter.split(np.zeros(n), groups=codes))
        if groups is not None and isinstance(self.cv, int | np.integer):
            return list(GroupKFold(self.cv).split(np.zeros(n), groups=groups))
        return list(check_cv(self.cv).split(np.zeros(n), given.rows.y[:, 0], groups))

    def _levels(self, given: FitInput) -> NDArray[np.intp]:
        """Levels of the instruments, or of the first draw's parameters."""
        rows = given.rows
        if rows.variation.instruments is not None:
            return level_codes(rows.variation.instruments)
        first = next(iter(self._source.pairs(rows, slice(0, rows.n))))
        if first.g is None:
            raise MethodNotApplicableError(
                'selection="level" holds out levels of the parameters, and there are none here: use selection="cv".'
            )
        return level_codes(first.g)

    def _held_out_moments(self, given: FitInput) -> tuple[list[tuple[Moments, Moments]], Moments]:
        """Moments of (training, test) rows of every split, and of all rows, with one pass where the folds allow."""
        rows = given.rows
        if self.selection not in ("cv", "level"):
            return [], moments_of_rows(self._source, rows)[0]
        splits = self._splits(given)
        labels = partition(splits, rows.n)
        if labels is not None and (labels >= 0).all():
            folds = moments_of_rows(self._source, rows, labels, len(splits))
            # Sums of the other folds rather than the total less one: nothing cancels.
            pairs = [(merge_all(folds[:i] + folds[i + 1 :]), fold) for i, fold in enumerate(folds)]
            return pairs, merge_all(folds)
        pairs = [(self._moments_of(rows, train), self._moments_of(rows, test)) for train, test in splits]
        return pairs, moments_of_rows(self._source, rows)[0]

    def _moments_of(self, rows: Rows, numbers: Integers) -> Moments:
        """Moments of some rows, each as often as it is listed."""
        times = np.bincount(numbers, minlength=rows.n)
        weight = times.astype(float) if rows.weight is None else times * rows.weight
        inside = np.where(times > 0, 0, -1).astype(np.intp)
        return moments_of_rows(self._source, replace(rows, weight=weight), inside)[0]

    def _choose(
        self,
        grid: Array,
        held_out: list[tuple[Moments, Moments]],
        moments: Moments,
        problem: LinearProblem,
        given: FitInput,
        n_draws: int,
    ) -> tuple[float, Array]:
        """The chosen alpha and the scores, shape (m, number of splits or 1)."""
        if self.selection == "tolerance":
            alpha = tolerance_alpha(problem, float(self.tolerance or 0.0))
            return alpha, np.zeros((0, 1))
        if self.selection == "gcv":
            criterion = generalised_cross_validation(problem, grid, moments.n_rows)
            return float(grid[int(np.argmin(criterion))]), criterion[:, None]
        if self.selection == "confounder_correction":
            plain = self._breakdown(moments, given.rows.variation.penalty)
            beta = confounding_strength(plain.h_ols[:, 0], moments.second("X", "X"))
            sizes = np.sqrt((problem.spectrum.coef(grid)[:, :, 0] ** 2).sum(axis=1))
            target = np.sqrt((1 - beta) * float((problem.coef(np.inf) ** 2).sum()))
            distance = np.abs(sizes - target)
            return float(grid[int(np.argmin(distance))]), distance[:, None]
        scores = np.stack([self._split_scores(grid, train, test, given, n_draws) for train, test in held_out], axis=1)
        return float(grid[int(np.argmax(scores.mean(axis=1)))]), scores

    def _split_scores(self, grid: Array, train: Moments, test: Moments, given: FitInput, n_draws: int) -> Array:
        problem = self._problem_of(train, given.rows.variation, n_draws, warn=False)
        coef = problem.spectrum.coef(grid)
        features = "x" if self.evaluate_on == "augmented" else "X"
        intercept = intercept_of(problem, train, coef)
        if train.layout.controls:  # they stand beside the features as further columns
            coef = np.concatenate([coef, exogenous_coef(problem, train, coef)], axis=1)
            features += "w"
        return held_out_r2(coef, intercept, test, features)

    def _set_scores(self, grid: Array, scores: Array) -> None:
        self.alphas_, self.scores_ = grid, scores
        if not len(scores):
            self.alphas_ = np.array([])
        self.cv_results_ = {
            "alpha": self.alphas_,
            "mean_score": scores.mean(axis=1),
            "std_score": scores.std(axis=1),
            **{f"split{i}_score": scores[:, i] for i in range(scores.shape[1])},
        }

    def _selection_note(self) -> str:
        return f"; conditional on alpha, chosen by {self.selection!r} from the same data"


def _row_numbers(rows: Any) -> Integers:
    """Row numbers of an index or a mask."""
    array = np.asarray(rows)
    return np.asarray(np.flatnonzero(array) if array.dtype == bool else array, dtype=np.intp)
