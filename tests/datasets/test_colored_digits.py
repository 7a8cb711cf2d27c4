"""Coloured digits: the documented draws, the frequencies of colours, and accuracies known from other code."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel

from causalkit.datasets import make_colored_digits

RATES = (0.15, 0.5, 0.9)


def swapped(X):
    return X.reshape(-1, 2, 64)[:, ::-1].reshape(-1, 128)


def grey(X):
    """Mean of the channels, put into both."""
    return (X + swapped(X)) / 2


def accuracies(score, digits):
    """Shares of noisy labels hit at the three rates, and of true labels at the last."""
    last = digits.test(0.9)
    hits = [((score(digits.test(rate).X) > 0) == digits.test(rate).y).mean() for rate in RATES]
    return [*hits, ((score(last.X) > 0) == last.true_label).mean()]


def ridge(X, y):
    return Ridge(alpha=10.0).fit(X, y - 0.5).predict


def kernel_ridge(X, y, orbit=False):
    def kernel(a):
        return rbf_kernel(a, X, gamma=0.02) + (rbf_kernel(a, swapped(X), gamma=0.02) if orbit else 0.0)

    # On images and swapped images together the solution gives both of a pair the same coefficient, so that the
    # 2n equations are n for the sum of the two kernels.
    dual = np.linalg.solve(kernel(X) + np.eye(len(X)), y - 0.5)
    return lambda rows: kernel(rows) @ dual


@pytest.fixture(scope="module")
def splits():
    """Ten splits, each with one draw of the channel swap from the same generator."""
    drawn = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        digits = make_colored_digits(random_state=rng)
        swap = rng.random(1200) < 0.5
        drawn.append((digits, np.where(swap[:, None], swapped(digits.train.X), digits.train.X)))
    return drawn


def test_images_are_the_digits_in_one_channel():
    digits = make_colored_digits(random_state=0)
    data = load_digits()
    for part, n in ((digits.train, 1200), *((test, 597) for test in digits.tests)):
        assert part.X.shape == (n, 128) and part.X.min() == 0 and part.X.max() == 1
        channels = part.X.reshape(n, *part.image_shape)
        np.testing.assert_array_equal(channels[np.arange(n), part.color] * 16, data.images[part.index])
        assert not channels[np.arange(n), 1 - part.color].any()
        np.testing.assert_array_equal(part.true_label, data.target[part.index] < 5)
        assert set(part.y.tolist()) == {0, 1} == set(part.color.tolist())
    # Every image is in one part, and the tests show the same ones.
    assert sorted([*digits.train.index, *digits.tests[0].index]) == list(range(1797))
    np.testing.assert_array_equal(digits.tests[0].index, digits.tests[2].index)


def test_documented_draws():
    digits = make_colored_digits(random_state=3)
    rng = np.random.default_rng(3)
    order, labels = rng.permutation(1797), load_digits().target < 5
    y = labels[order[:1200]] ^ (rng.random(1200) < 0.25)
    rate = rng.choice([0.1, 0.2], 1200)
    np.testing.assert_array_equal(digits.train.index, order[:1200])
    np.testing.assert_array_equal(digits.train.y, y)
    np.testing.assert_array_equal(digits.train.rate, rate)
    np.testing.assert_array_equal(digits.train.color, y ^ (rng.random(1200) < rate))
    for test, e in zip(digits.tests, RATES, strict=True):
        y = labels[order[1200:]] ^ (rng.random(597) < 0.25)
        np.testing.assert_array_equal(test.y, y)
        np.testing.assert_array_equal(test.color, y ^ (rng.random(597) < e))


def test_frequencies(splits):
    """Shares over ten splits, each within four binomial standard errors of its probability."""

    def close(flips, probability):
        flips = np.concatenate(flips)
        return abs(flips.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / len(flips))

    train = [digits.train for digits, _ in splits]
    assert close([part.y != part.true_label for part in train], 0.25)
    assert close([part.rate == 0.2 for part in train], 0.5)
    for e in (0.1, 0.2):
        assert close([(part.color != part.y)[part.rate == e] for part in train], e)
    for e in RATES:
        assert close([digits.test(e).color != digits.test(e).y for digits, _ in splits], e)


# Published to three digits and computed by other code: least squares, one draw of the swap, both images.
LINEAR = {"erm": (0.841, 0.502, 0.111), "one draw": (0.669, 0.672, 0.652), "orbit": (0.679, 0.682, 0.682)}
KERNEL = {
    "erm": (0.841, 0.499, 0.103, 0.305),
    "one draw": (0.684, 0.687, 0.672, 0.862),
    "orbit": (0.700, 0.707, 0.704, 0.906),
    "grey": (0.686, 0.690, 0.692, 0.881),
}


def test_linear_accuracies(splits):
    measured = {name: [] for name in LINEAR}
    for digits, drawn in splits:
        X, y = digits.train.X, digits.train.y
        measured["erm"].append(accuracies(ridge(X, y), digits))
        measured["one draw"].append(accuracies(ridge(drawn, y), digits))
        measured["orbit"].append(accuracies(ridge(np.vstack([X, swapped(X)]), np.append(y, y)), digits))
    for name, expected in LINEAR.items():
        # One label in 5970 is .00017; the rest is rounding.
        np.testing.assert_allclose(np.mean(measured[name], axis=0)[:3], expected, atol=0.001, err_msg=name)


def test_kernel_accuracies(splits):
    measured = {name: [] for name in KERNEL}
    for digits, drawn in splits:
        X, y = digits.train.X, digits.train.y
        measured["erm"].append(accuracies(kernel_ridge(X, y), digits))
        measured["one draw"].append(accuracies(kernel_ridge(drawn, y), digits))
        measured["orbit"].append(accuracies(kernel_ridge(X, y, orbit=True), digits))
        score = kernel_ridge(grey(X), y)
        measured["grey"].append(accuracies(lambda rows, score=score: score(grey(rows)), digits))
    for name, expected in KERNEL.items():
        np.testing.assert_allclose(np.mean(measured[name], axis=0), expected, atol=0.001, err_msg=name)


def test_other_settings():
    digits = make_colored_digits(200, label_noise=0.0, train_rates=[0.0], test_rates=[1, 0], random_state=0)
    assert digits.train.X.shape == (200, 128) and digits.tests[0].X.shape == (1597, 128)
    np.testing.assert_array_equal(digits.train.y, digits.train.true_label)
    np.testing.assert_array_equal(digits.train.color, digits.train.y)
    np.testing.assert_array_equal(digits.test(1).color, 1 - digits.test(1).y)
    np.testing.assert_array_equal(digits.test(0.0).color, digits.test(0.0).y)
    assert make_colored_digits(200, test_rates=(), random_state=0).tests == ()
    assert repr(digits) == "ColoredDigits(n_train=200, n_test=1597, test_rates=[1.0, 0.0])"
    assert repr(digits.train) == "ColoredImages(n=200, rates=[0.0])"


def test_randomness_comes_from_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = make_colored_digits(random_state=1)
    np.testing.assert_array_equal(first.train.X, make_colored_digits(random_state=np.random.default_rng(1)).train.X)
    assert not np.array_equal(first.train.X, make_colored_digits(random_state=2).train.X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_colored_digits(1797), "n_train must be an integer between 1 and 1796"),
        (lambda: make_colored_digits(label_noise=1.5), r"label_noise must be a probability in \[0, 1\]"),
        (lambda: make_colored_digits(train_rates=()), "train_rates must name at least one rate"),
        (lambda: make_colored_digits(train_rates=0.1), "train_rates must be a sequence"),
        (lambda: make_colored_digits(test_rates=(0.1, -0.2)), r"test_rates\[1\] must be a probability"),
        (lambda: make_colored_digits(test_rates=("a",)), r"test_rates\[0\] must be a finite number"),
        (lambda: make_colored_digits(random_state=0).test(0.7), r"rate must be one of test_rates, \[0.15, 0.5, 0.9\]"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
