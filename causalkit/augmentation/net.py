"""IVLikeNetRegressor and IVLikeNetClassifier: networks that trade fit against change under an augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets

from causalkit.augmentation.net_fit import IVLikeNetMixin
from causalkit.augmentation.net_pairs import Targets, fit_scaling
from causalkit.documented import DocumentedEstimator
from causalkit.validation import unboxed

__all__ = ["IVLikeNetClassifier", "IVLikeNetRegressor"]

Array = NDArray[np.float64]


class IVLikeNetRegressor(RegressorMixin, IVLikeNetMixin, DocumentedEstimator):
    r"""Network whose predictions change little under an augmentation, or whose residuals ignore instruments.

    Estimand: f in y = f(x) + ξ with hidden confounding, E[ξ|x] ≠ 0, under transformations with f(gx) = f(x)
    or real instruments. Estimator: with x = GX and parameters G (or X and instruments Z),

    .. math:: \min_h\; E_n (y - h(GX))^2 + \tfrac{1}{\alpha}\,\mathrm{pen}(h),

    pen is :math:`E_n (h(GX) - h(X))^2` ("pointwise"), :math:`q'S^{-1}q` with
    :math:`q = E_n[\tilde g\,(h(GX) - h(X))]` ("paired") or with :math:`q = E_n[\tilde g\,(y - h(GX))]`
    ("projected"), :math:`\tilde g` centred, S its covariance. α = inf is least squares on augmented features.
    Without hidden layers this is the linear estimator (αA + B)⁻¹(αa + b).

    Assumptions: the augmentation leaves the outcome alone, or the instruments are valid. Confounding along
    features that the augmentation does not move stays.

    Parameters
    ----------
    alpha : float, default=0.1
        Distrust in the invariance, in (0, inf]. Use 0.01 or less if it holds by construction.
    augmentation : Augmenter or callable ``(X, rng) -> GX`` or ``(GX, G)``, default=None
        Draws new augmented features in every epoch. None with nothing else given: an ordinary network.
    penalty : {"auto", "pointwise", "paired", "projected"}, default="auto"
        "auto" is "projected" with instruments and "pointwise" with an augmentation. The moment penalties
        "paired" and "projected" need instruments or augmentation parameters; in batches they take two
        independent draws, q₁'S⁻¹q₂, with S from all training rows, because the square of one batch average
        is too large by its variance.
    module : torch.nn.Module or callable, default=None
        A network of your own, such as a convolutional one, or a function (n_features, n_outputs) that
        returns one. It gets rows of shape (b, p) **as given, not standardised**, in float32, and returns
        (b, t), or (b,) for one outcome. A module is copied, and starts from the
        weights that it has. None is a perceptron on standardised features.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the perceptron's hidden layers; () is the linear model.
    max_epochs, batch_size : int, default=300, 128
        Most passes over the rows, and rows per step.
    learning_rate, weight_decay : float, default=2e-3, 0.0
        Of AdamW; without decay it is Adam.
    early_stopping : bool, default=True
        Hold out ``validation_fraction`` of the rows (whole groups), stop after ``patience`` epochs
        without improvement of the objective there, and keep the best weights. False: train on all rows
        until the training loss is flat over ``patience`` epochs.
    validation_fraction : float, default=0.1
        Share of the rows held out.
    patience : int, default=30
        Epochs without improvement.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        "auto" is the GPU when there is one. Random numbers are drawn on the CPU for every device.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the weights, the split, the batches and the draws. On the CPU a fit repeats exactly, apart
        from a module of your own that is trained in several threads at once.
    verbose : int, default=0
        1 shows a progress line on the standard error stream.

    Attributes
    ----------
    weights_ : dict of str to ndarray
        Weights "0.weight", "0.bias", "2.weight", ... of the perceptron, for standardised features and outcome.
    layer_sizes_ : tuple of int
        Widths from input to output.
    module_ : torch.nn.Module
        The trained network, on the CPU (only with ``module``).
    feature_centre_, feature_scale_ : ndarray, shape (p,)
        Standardisation of the features (0 and 1 with ``module``).
    target_centre_, target_scale_ : float, or ndarray of shape (t,)
        Standardisation of the outcome.
    alpha_ : float
        α.
    penalty_ : str
        Penalty in use, "none" without variation.
    variation_ : {"augmentation", "instruments", "none"}
        Where the variation comes from.
    loss_curve_, validation_curve_ : ndarray, shape (n_epochs,)
        Objective times α/(1 + α) by epoch, in units of the outcome's variance: mean over batches, and on the held-out
        rows (empty without early stopping). With a moment penalty values may be negative.
    n_epochs_, best_epoch_ : int
        Epochs trained, and the one (from 0) whose weights were kept.
    converged_ : bool
        Whether training stopped by itself.
    device_ : str
        Where it trained.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    AugmentationError
        Two sources of variation, or none for the penalty asked for; unusable augmented features; missing
        parameters.
    MethodNotApplicableError
        ``alpha=0``; a penalty that networks do not have.
    UnderIdentifiedError
        As many parameters or instruments as rows.
    DeviceUnavailableError, MissingDependencyError
        No such GPU; torch is not installed.
    FloatingPointError
        Training diverged.

    Warns
    -----
    ConvergenceWarning
        ``max_epochs`` reached while the loss was still falling.
    WeakInstrumentWarning
        Constant or collinear parameters or instruments; a moment penalty on parameters that move no mean.
    LeakageWarning
        Parameters that were given, or drawn by a plain function, and depend on the outcome or the features.

    Notes
    -----
    There are no standard errors and there is no ``inference`` method. The invariance itself cannot be
    tested. The fitted perceptron predicts with numpy alone, in double precision, and can be stored with
    :func:`causalkit.save`; a module of your own can only be pickled.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128, section 3 (the projected objective). The
    pairwise penalties and the product of two batches are this library's own.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation import IVLikeNetRegressor
    >>> rng = np.random.default_rng(0)
    >>> C, x, u = rng.standard_normal((3, 500))
    >>> X, y = np.column_stack([x, C + 0.3 * u]), x + C
    >>> def shift_second(X, rng):
    ...     return X + rng.standard_normal((len(X), 1)) * [0.0, 1.0]
    >>> net = IVLikeNetRegressor(augmentation=shift_second, hidden_layer_sizes=(8,), learning_rate=0.02,
    ...                          max_epochs=40, patience=5, random_state=0).fit(X, y)
    >>> change = net.predict(X + [0.0, 1.0]) - net.predict(X)
    >>> bool(np.abs(change).mean() < 0.2)
    True
    """

    _is_regressor = True

    def predict(self, X: Any) -> Array:
        """Predicted outcome of features as given, not augmented.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n,) or (n, t)
        """
        outputs = self._outputs(X)
        single = np.ndim(self.target_centre_) == 0
        return np.asarray((outputs[:, 0] if single else outputs) * self.target_scale_ + self.target_centre_)

    def _make_targets(self, y: NDArray[Any], weight: Array) -> Targets:
        values = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        scaling = fit_scaling(values, weight)
        single = np.ndim(y) == 1
        self.target_centre_ = float(scaling.centre[0]) if single else scaling.centre
        self.target_scale_ = float(scaling.scale[0]) if single else scaling.scale
        return Targets(values, values.shape[1], scaling)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class IVLikeNetClassifier(ClassifierMixin, IVLikeNetMixin, DocumentedEstimator):
    r"""Classifier whose probabilities change little under an augmentation, or whose residuals ignore instruments.

    Estimand: class probabilities that do not use what the augmentation changes. Estimator: with p(·) the
    softmax of a network's outputs and 1_y the indicators of the classes,

    .. math:: \min_p\; -E_n \log p_y(GX) + \tfrac{1}{\alpha}\,\mathrm{pen}(p),

    pen is :math:`\tfrac12 E_n \lVert p(GX) - p(X)\rVert^2` ("pointwise"), or half the sum over classes of
    :math:`q'S^{-1}q` with :math:`q = E_n[\tilde g\,(p(GX) - p(X))]` ("paired") or with
    :math:`q = E_n[\tilde g\,(1_y - p(GX))]` ("projected"). For two classes the half makes it the penalty on
    the probability of one of them.

    Assumptions: the augmentation leaves the class alone, or the instruments are valid.

    Parameters
    ----------
    alpha : float, default=0.1
        Distrust in the invariance, in (0, inf]; inf is the log loss on augmented features.
    augmentation : Augmenter or callable ``(X, rng) -> GX`` or ``(GX, G)``, default=None
        Draws new augmented features in every epoch. None with nothing else given: an ordinary classifier.
    penalty : {"auto", "pointwise", "paired", "projected"}, default="auto"
        "auto" is "projected" with instruments and "pointwise" with an augmentation.
    module : torch.nn.Module or callable, default=None
        A network of your own, or a function (n_features, n_outputs) that returns one: from rows (b, p), not
        standardised, to logits (b, n_classes).
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the perceptron's hidden layers; () is the linear logit.
    max_epochs, batch_size, learning_rate, weight_decay : default=300, 128, 2e-3, 0.0
        Of the training, see :class:`IVLikeNetRegressor`.
    early_stopping, validation_fraction, patience : default=True, 0.1, 30
        As for :class:`IVLikeNetRegressor`; without groups each class gives its share of the held-out rows.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        "auto" is the GPU when there is one.
    random_state : int, RandomState, Generator or None, default=None
        Seed.
    verbose : int, default=0
        1 shows a progress line on the standard error stream.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Classes.
    weights_, layer_sizes_, module_, feature_centre_, feature_scale_, alpha_, penalty_, variation_,
    loss_curve_, validation_curve_, n_epochs_, best_epoch_, converged_, device_
        As for :class:`IVLikeNetRegressor`.

    Raises
    ------
    ValueError
        One class only.
    AugmentationError, MethodNotApplicableError, UnderIdentifiedError, DeviceUnavailableError, FloatingPointError
        As for :class:`IVLikeNetRegressor`.

    Warns
    -----
    ConvergenceWarning, WeakInstrumentWarning, LeakageWarning
        As for :class:`IVLikeNetRegressor`.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128, section 3. Arjovsky et al. 2019, arXiv
    1907.02893 (colour as a spurious cue).

    Examples
    --------
    The second column follows the class here, but is known not to matter: its sign is flipped at random.

    >>> import numpy as np
    >>> from causalkit.augmentation import IVLikeNetClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 400)
    >>> X = np.column_stack([y + 0.7 * rng.standard_normal(400), 2 * y - 1.0])
    >>> def flip_second(X, rng):
    ...     return X * np.column_stack([np.ones(len(X)), rng.choice([-1.0, 1.0], len(X))])
    >>> net = IVLikeNetClassifier(augmentation=flip_second, hidden_layer_sizes=(8,), learning_rate=0.02,
    ...                           max_epochs=40, patience=5, random_state=0).fit(X, y)
    >>> change = net.predict_proba(X * [1.0, -1.0]) - net.predict_proba(X)
    >>> bool(np.abs(change).mean() < 0.1)
    True
    """

    _is_regressor = False

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes for features as given, not augmented.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n, n_classes)
            Columns in the order of ``classes_``.
        """
        return np.asarray(softmax(self._outputs(X), axis=1))

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n,)
        """
        outputs = self._outputs(X)
        return np.asarray(self.classes_[np.argmax(outputs, axis=1)])

    def _make_targets(self, y: NDArray[Any], weight: Array) -> Targets:
        y = unboxed(y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_.tolist()[0]!r}: expected at least two classes among the rows of "
                "positive weight. Pass rows of every class."
            )
        return Targets(np.asarray(codes, dtype=np.int64), len(self.classes_), None)
