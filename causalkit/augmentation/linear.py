"""IVLikeRegressor: linear regression that distrusts the directions which an outcome-invariant augmentation moves."""

from __future__ import annotations

import warnings
from pickle import PicklingError
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from causalkit.atomic_fit import atomic_fit
from causalkit.augmentation.augmenters.base import Augmenter
from causalkit.augmentation.augmenters.forms import same
from causalkit.augmentation.linear_base import BaseIVLikeRegressor
from causalkit.augmentation.linear_inputs import FitInput, check_alpha, refuse_one_cluster
from causalkit.augmentation.pairs import moments_of_rows

__all__ = ["IVLikeRegressor"]


class IVLikeRegressor(BaseIVLikeRegressor):
    r"""Linear IV-like regression from outcome-invariant augmentation, or from real instruments.

    The outcome is :math:`y = f'x + \xi` with hidden confounding, :math:`E[\xi x] \neq 0`. An augmentation changes
    x to GX and leaves f'x alone. The variation that it adds is independent of the confounding by construction; x
    itself is as confounded as before. A fit without weight on the moved directions is right about them, as f has
    none. With :math:`d = GX - x`, alpha in [0, ∞] and squared errors on the augmented features,

    .. math:: \hat h_\alpha = \arg\min_h\; E_n (y - h'GX)^2 + \tfrac1\alpha E_n (h'd)^2
              = (\alpha A + B)^{-1} \alpha a, \qquad A = E_n[GX\,GX'],\; a = E_n[GX\,y],\; B = E_n[dd'] .

    alpha reads as distrust in the invariance: ∞ is least squares on augmented data, 0 is least squares within
    the invariant directions.

    Parameters
    ----------
    alpha : float in [0, inf], default=0.1
        Distrust in the invariance. 0.1 is a compromise between exact and slightly violated invariance; 0.01 or
        less suits an invariance that is exact by construction.
    augmentation : Augmenter or callable, optional
        What draws GX: an object of :mod:`causalkit.augmentation.augmenters`, or ``(X, rng) -> GX`` or ``(GX, G)``.
        Without one, and without ``augmented`` or ``instruments`` in ``fit``, the fit is least squares.
    penalty : {"auto", "projected", "paired", "pointwise", "analytic", "constrained"}, default="auto"
        "auto" is "projected" with instruments and "pointwise" with an augmentation.

        - "pointwise": B as above; any augmentation, no parameters needed.
        - "paired": :math:`B = C_D'S^{-1}C_D`, the mean moves given the parameters G; S = E_n[gg'], C_D = E_n[gd'].
        - "projected": :math:`(\alpha A + C'S^{-1}C)^{-1}(\alpha a + C'S^{-1}d)`, C = E_n[gx'], d = E_n[gy]: the
          published form (equation of Proposition 1) and the one for real instruments.
        - "analytic": :math:`(A_X + (1 + 1/\alpha)K)^{-1}a_X` with K = E[dd'] known and no draws, for additive
          augmentations of mean zero.
        - "constrained": least squares within the null space of B, whatever alpha.
    n_draws : int or "orbit", default=1
        Augmented copies of each row, each of weight 1/n_draws; "orbit" takes all elements of a finite augmenter
        with their probabilities.
    feature_map : transformer, optional
        scikit-learn transformer φ (kernel approximation, splines, polynomials), cloned and fitted on the stacked
        rows of GX (first draw, or the orbit) and X; then x = φ(GX), d = φ(GX) - φ(X).
    ridge : float, default=0.0
        Added to the diagonal of A; needed for more features than rows.
    fit_intercept : bool, default=True
        Whether to centre.
    rank_tol : float, default=1e-8
        Relative eigenvalue below which a direction counts as not moved, a parameter column as redundant.
    random_state : int, RandomState, Generator or None, default=None
        Key of the draws.
    verbose : int, default=0
        Linear fits are silent.

    Attributes
    ----------
    coef_ : ndarray, shape (p,) or (t, p)
        Coefficients, in units of y per unit of each (mapped) feature.
    intercept_ : float or ndarray, shape (t,)
        Intercept.
    exogenous_coef_ : ndarray, shape (e,) or (t, e)
        Coefficients of the controls, where there are any.
    alpha_ : float
        The alpha of the fit.
    penalty_ : str
        What "auto" chose.
    variation_ : {"instruments", "augmentation", "none"}
        Where the variation came from.
    eigenvalues_ : ndarray
        "projected": squared canonical correlations of G and GX, shape (rank of G,). Otherwise generalised
        eigenvalues of (B, A), shape (p,): how much each direction is moved relative to its variance.
    moments_ : Moments
        Means and second moments that the fit is computed from.
    n_samples_, n_draws_, n_parameters_ : int
        Rows, draws per row, rank of G (or of the instruments).
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, where X has any.

    Raises
    ------
    AugmentationError
        Nothing to invert, two sources of variation, or augmented features that do not fit X.
    MethodNotApplicableError
        "analytic" without a known covariance, "orbit" without an orbit.
    RankError
        Collinear features without ridge.
    NoInvariantDirectionError
        alpha = 0 or "constrained" where every direction is moved.
    UnderIdentifiedError
        Fewer instruments than features at alpha = 0, or as many parameters as rows.

    Notes
    -----
    Assumption: f(GX) = f(X) for every draw. It cannot be tested with synthetic augmentations, because G is
    independent of y whatever f is. In the population, under exact invariance and in the norm weighted by the
    covariance of X, the error falls as alpha falls; in the Euclidean norm it may rise, and confounding in
    directions that nothing moves stays. "paired", "pointwise", "analytic" and "constrained", the standard errors
    and the diagnostics are this library's.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet & Dai 2025, NeurIPS, arXiv:2510.25128, Proposition 1 and Theorems 1-3.
    Rothenhäusler, Meinshausen, Bühlmann & Peters 2021, JRSS B, arXiv:1801.06229 (anchor regression, which
    "projected" is with γ = 1 + 1/alpha).

    Examples
    --------
    >>> from causalkit.augmentation import IVLikeRegressor
    >>> from causalkit.augmentation.augmenters import NullSpaceShift
    >>> from causalkit.datasets import make_linear_augmentation
    >>> data = make_linear_augmentation(2000, 4, random_state=0)
    >>> shift = NullSpaceShift(data.basis)
    >>> model = IVLikeRegressor(alpha=0.01, augmentation=shift, random_state=0).fit(data.X, data.y)
    >>> plain = IVLikeRegressor().fit(data.X, data.y)
    >>> bool(abs(model.coef_ - data.coef).max() < abs(plain.coef_ - data.coef).max())
    True
    """

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        augmentation: Any = None,
        penalty: str = "auto",
        n_draws: int | str = 1,
        feature_map: Any = None,
        ridge: float = 0.0,
        fit_intercept: bool = True,
        rank_tol: float = 1e-8,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.alpha = alpha
        self.augmentation = augmentation
        self.penalty = penalty
        self.n_draws = n_draws
        self.feature_map = feature_map
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.rank_tol = rank_tol
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
    ) -> IVLikeRegressor:
        """Fit from rows in memory, or from a Dask collection block by block.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, p)
            Features before augmentation. Dask arrays and frames are read one block at a time; their blocks must
            match those of the other arguments.
        y : array-like, shape (n,) or (n, t)
            Outcome.
        instruments : array-like, shape (n, k), optional
            Real instruments; excludes augmentations.
        exogenous : array-like, shape (n, e), optional
            Controls, partialled out of features, outcome and parameters.
        augmented : array-like, shape (n, p) or (n, R, p), optional
            Augmented features made beforehand, R draws per row; excludes ``augmentation``.
        augmentation_parameters : array-like, shape (n, k) or (n, R, k), optional
            Their parameters, for "projected" and "paired".
        groups : array-like, shape (n,), optional
            Clusters for standard errors.
        sample_weight : array-like, shape (n,), optional
            Weights: coefficients equal those of repeated rows, standard errors count a row as one unit.

        Returns
        -------
        IVLikeRegressor
        """
        self._check_parameters()
        alpha = check_alpha(self.alpha)
        arguments = {
            "instruments": instruments,
            "exogenous": exogenous,
            "augmented": augmented,
            "augmentation_parameters": augmentation_parameters,
            "groups": groups,
            "sample_weight": sample_weight,
        }
        with atomic_fit(self):
            if hasattr(X, "dask"):
                from causalkit.augmentation.streams import fit_blocks

                fit_blocks(self, X, y, arguments, alpha)
                return self
            given = self._read(X, y, **arguments)
            refuse_one_cluster(given.groups)
            self._start_seed()
            self._source = self._make_source(given.rows, fit_map=True)
            moments = moments_of_rows(self._source, given.rows)[0]
            variation = given.rows.variation
            n_draws = self._draws_per_row(variation)
            problem = self._problem_of(moments, variation, n_draws)
            self._finish(moments, problem, alpha, variation, given.exogenous_names, n_draws)
            self._warn_of_parameters(moments, variation)
            self._held: FitInput | None = given
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        *,
        instruments: Any = None,
        exogenous: Any = None,
        augmented: Any = None,
        augmentation_parameters: Any = None,
        sample_weight: Any = None,
        first_row: int | None = None,
    ) -> IVLikeRegressor:
        """Add a chunk of rows to the moments, and solve again.

        Memory does not grow with the rows; the rows of an earlier ``fit`` are added to. The coefficients equal
        those of one fit to all rows, in any chunking; ``inference`` then needs the chunks again. The first chunk
        must determine the coefficients by itself: more rows than features, or ``ridge``.

        Parameters
        ----------
        X, y, instruments, exogenous, augmented, augmentation_parameters, sample_weight
            As in ``fit``, for the rows of the chunk.
        first_row : int, optional
            Number of the chunk's first row in the whole data, which keys its draws; default the rows so far.

        Returns
        -------
        IVLikeRegressor
        """
        self._check_parameters()
        alpha = check_alpha(self.alpha)
        started = self.__sklearn_is_fitted__()
        with atomic_fit(self):
            given = self._read(
                X,
                y,
                instruments=instruments,
                exogenous=exogenous,
                augmented=augmented,
                augmentation_parameters=augmentation_parameters,
                groups=None,
                sample_weight=sample_weight,
                first_row=(self.moments_.n_rows if started else 0) if first_row is None else first_row,
                reset=not started,
            )
            if not started:
                self._start_seed()
                self._source = self._make_source(given.rows, fit_map=False)
            moments = moments_of_rows(self._source, given.rows)[0]
            if started:
                self._refuse_other_columns(given)
                if moments.layout != self.moments_.layout:
                    raise ValueError(
                        f"the chunk has other columns than the rows before: {moments.layout} against "
                        f"{self.moments_.layout}. Pass the same arguments with every chunk."
                    )
                moments = self.moments_.merge(moments)
            with warnings.catch_warnings():
                if started:  # said once, with the first chunk
                    warnings.simplefilter("ignore")
                variation = given.rows.variation
                n_draws = self._draws_per_row(variation)
                if started and n_draws != self.n_draws_:
                    raise ValueError(
                        f"the chunk has {n_draws} draws per row, the rows before have {self.n_draws_}: pass the same "
                        "number with every chunk."
                    )
                problem = self._problem_of(moments, variation, n_draws)
            self._finish(moments, problem, alpha, variation, given.exogenous_names, n_draws)
            self._held = None
        return self

    def merge(self, other: IVLikeRegressor) -> IVLikeRegressor:
        """A new estimator for the rows of both: fits of equal parameters to different rows.

        Parameters
        ----------
        other : IVLikeRegressor
            Fitted with the same parameters, features and kinds of arguments. For an augmentation to draw
            different numbers for its rows give ``partial_fit`` there the right ``first_row``.

        Returns
        -------
        IVLikeRegressor

        Raises
        ------
        ValueError
            Naming the first difference.
        """
        check_is_fitted(self)
        if not isinstance(other, IVLikeRegressor):
            raise ValueError(f"other must be a fitted IVLikeRegressor; got {type(other).__name__}.")
        check_is_fitted(other)
        _refuse_difference(self, other)
        merged = clone(self)
        for name, value in vars(self).items():
            if name not in merged.get_params(deep=False):
                setattr(merged, name, value)
        moments = self.moments_.merge(other.moments_)
        problem = merged._problem_of(moments, self._variation, self.n_draws_)
        merged._finish(moments, problem, self.alpha_, self._variation, self._exogenous_names, self.n_draws_)
        merged._held = None
        return merged


def _refuse_difference(first: IVLikeRegressor, second: IVLikeRegressor) -> None:
    """Say the first thing in which two fits to be merged differ."""
    ours, theirs = first.get_params(deep=False), second.get_params(deep=False)
    for name, value in ours.items():
        other = theirs[name]
        # The repr of an augmenter leaves large arrays out.
        alike = same(value, other) if isinstance(value, Augmenter) else repr(value) == repr(other)
        if not (value is other or alike):
            raise ValueError(f"cannot merge: {name} is {value!r} here and {other!r} there. Fit both alike.")
    names = [list(getattr(fit, "feature_names_in_", [])) for fit in (first, second)]
    if names[0] != names[1]:
        raise ValueError(f"cannot merge: the features are {names[0]} here and {names[1]} there.")
    for name in ("_variation", "_exogenous_names", "_single_output", "n_draws_"):
        a, b = getattr(first, name), getattr(second, name)
        if a != b:
            raise ValueError(f"cannot merge: the fits differ in {name.strip('_')}: {a!r} here, {b!r} there.")
    if not _same_content(first._source.feature_map, second._source.feature_map):
        raise ValueError(
            "cannot merge: the two feature maps were fitted to different rows, so that their columns differ. Fit the "
            "feature map once, and use partial_fit with it in both."
        )
    if first.moments_.layout != second.moments_.layout:
        raise ValueError(f"cannot merge: columns are {first.moments_.layout} here, {second.moments_.layout} there.")


def _same_content(first: Any, second: Any) -> bool:
    """Whether two fitted transformers are equal, as far as their content can be read."""
    if first is second:
        return True
    try:
        return bool(joblib.hash(first) == joblib.hash(second))
    except (PicklingError, AttributeError, TypeError):  # a local function cannot be read
        return repr(first) == repr(second)
