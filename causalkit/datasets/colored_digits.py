"""Real images of digits whose colour goes with the label in training and against it in a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.simulated_map import as_generator, check_number
from causalkit.validation import check_integer

__all__ = ["ColoredDigits", "ColoredImages", "make_colored_digits"]

Array = NDArray[np.float64]

_N_IMAGES, _MAX_VALUE = 1797, 16.0


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ColoredImages:
    """Coloured images of one environment.

    Attributes
    ----------
    X : ndarray, shape (n, 128)
        Images (2, 8, 8) as rows, in [0, 1]: the digit in the channel of its colour, zeros in the other.
    y : ndarray of int, shape (n,)
        Noisy label, 0 or 1.
    true_label : ndarray of int, shape (n,)
        1 for the digits 0 to 4, else 0.
    color : ndarray of int, shape (n,)
        Channel of the image.
    rate : ndarray, shape (n,)
        Probability with which the colour of the row differs from y.
    index : ndarray of int, shape (n,)
        Row of each image in ``sklearn.datasets.load_digits``.
    image_shape : tuple of int
        (2, 8, 8), as the image augmenters take it.
    """

    X: Array
    y: NDArray[np.int64]
    true_label: NDArray[np.int64]
    color: NDArray[np.int64]
    rate: Array
    index: NDArray[np.intp]
    image_shape: tuple[int, int, int] = (2, 8, 8)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={len(self.y)}, rates={np.unique(self.rate).tolist()})"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ColoredDigits:
    """Training images and the same held-out digits coloured at several rates.

    Attributes
    ----------
    train : ColoredImages
        Rows to fit on; colour differs from the label rarely.
    tests : tuple of ColoredImages
        The held-out digits, once for each rate, with label noise and colour drawn anew each time.
    test_rates : tuple of float
        Rate of each of them.
    """

    train: ColoredImages
    tests: tuple[ColoredImages, ...]
    test_rates: tuple[float, ...]

    def test(self, rate: float) -> ColoredImages:
        """Return the held-out digits coloured at a rate among ``test_rates``.

        Raises
        ------
        ValueError
            If they were not coloured at that rate.
        """
        if rate not in self.test_rates:
            raise ValueError(
                f"rate must be one of test_rates, {list(self.test_rates)}; got {rate!r}. "
                "Name further rates in make_colored_digits(test_rates=...)."
            )
        return self.tests[self.test_rates.index(rate)]

    def __repr__(self) -> str:
        counts = f"n_train={len(self.train.y)}, n_test={_N_IMAGES - len(self.train.y)}"
        return f"{type(self).__name__}({counts}, test_rates={list(self.test_rates)})"


def make_colored_digits(
    n_train: int = 1200,
    *,
    label_noise: float = 0.25,
    train_rates: Sequence[float] = (0.1, 0.2),
    test_rates: Sequence[float] = (0.15, 0.5, 0.9),
    random_state: Any = None,
) -> ColoredDigits:
    r"""Colour the 8 x 8 digits of scikit-learn so that their colour predicts the label, for a while.

    The label is :math:`1\{\text{digit} < 5\}`, flipped with probability .25; the colour is the label, flipped with
    probability e. In training e is .1 or .2, so colour predicts better than shape, which is right in 75 % of the rows
    at best; at e = .9 it misleads. Swapping the two channels leaves the label alone exactly, and a model that does not
    change under the swap cannot use the colour. Averaging the channels gives the grey image of the usual oracle:
    ``X.reshape(-1, 2, 64).mean(axis=1)``.

    Parameters
    ----------
    n_train : int, default=1200
        Images to fit on, below 1797; the others are held out.
    label_noise : float, default=0.25
        Probability that y differs from the true label.
    train_rates : sequence of float, default=(0.1, 0.2)
        Values of e in training; each row has one of them, with equal probability.
    test_rates : sequence of float, default=(0.15, 0.5, 0.9)
        Values of e, each used for all held-out images.
    random_state : int, Generator, RandomState or None
        Draws in this order: a permutation of the 1797 images, whose first ``n_train`` are for training; for training
        the uniforms that flip the label, a choice among ``train_rates``, the uniforms that flip the colour; then for
        each test rate the uniforms that flip the label and those that flip the colour. A uniform below its probability
        flips.

    Returns
    -------
    ColoredDigits

    Raises
    ------
    ValueError
        If the size, a probability or a rate is out of range, or there are no training rates.

    References
    ----------
    Arjovsky, Bottou, Gulrajani and Lopez-Paz (2019), arXiv:1907.02893, for coloured digits; Akbar, Kilbertus, Shen,
    Muandet and Dai (2025), arXiv:2510.25128, for augmentation of their colour. The images are those of
    ``sklearn.datasets.load_digits``.

    Examples
    --------
    >>> from causalkit.datasets import make_colored_digits
    >>> digits = make_colored_digits(random_state=0)
    >>> digits.train.X.shape, digits.test(0.9).X.shape
    ((1200, 128), (597, 128))
    >>> round(float((digits.test(0.9).color == digits.test(0.9).y).mean()), 1)
    0.1
    """
    from sklearn.datasets import load_digits

    size = check_integer(n_train, "n_train", low=1, high=_N_IMAGES - 1)
    noise = _check_rate(label_noise, "label_noise")
    in_training, in_tests = _check_rates(train_rates, "train_rates"), _check_rates(test_rates, "test_rates")
    if not in_training:
        raise ValueError("train_rates must name at least one rate; got an empty sequence.")
    images, target = load_digits(return_X_y=True)
    images, labels = images / _MAX_VALUE, (target < 5).astype(np.int64)
    rng = as_generator(random_state)
    order = rng.permutation(_N_IMAGES)
    train = _colored(images, labels, order[:size], noise, in_training, rng)
    tests = tuple(_colored(images, labels, order[size:], noise, (rate,), rng) for rate in in_tests)
    return ColoredDigits(train=train, tests=tests, test_rates=in_tests)


def _colored(
    images: Array,
    labels: NDArray[np.int64],
    index: NDArray[np.intp],
    noise: float,
    rates: tuple[float, ...],
    rng: np.random.Generator,
) -> ColoredImages:
    n = len(index)
    true_label = labels[index]
    y = true_label ^ (rng.random(n) < noise)
    # One rate needs no choice, so that tests use the two uniforms of each row alone.
    rate = np.full(n, rates[0]) if len(rates) == 1 else rng.choice(rates, n)
    color = y ^ (rng.random(n) < rate)
    channels = np.zeros((n, 2, images.shape[1]))
    channels[np.arange(n), color] = images[index]
    return ColoredImages(X=channels.reshape(n, -1), y=y, true_label=true_label, color=color, rate=rate, index=index)


def _check_rate(value: Any, name: str) -> float:
    rate = check_number(value, name)
    if not 0 <= rate <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1]; got {value!r}.")
    return rate


def _check_rates(values: Any, name: str) -> tuple[float, ...]:
    try:
        listed = list(values)
    except TypeError:
        raise ValueError(f"{name} must be a sequence of rates, such as (0.1, 0.2); got {values!r}.") from None
    return tuple(_check_rate(value, f"{name}[{j}]") for j, value in enumerate(listed))
