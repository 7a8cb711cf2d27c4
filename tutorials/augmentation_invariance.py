"""
What an invariance is worth under hidden confounding
====================================================

There is no instrument, and something unseen moves both the features and the outcome. But you know a transformation
that leaves the outcome alone: a shift along directions that cannot matter, a swap of two colour channels. *IV-like
regression* makes a fit ignore whatever the transformation changes, and so takes the confounding out of those
directions, and only of those.

Four parts: a simulation whose truth is known, real images of digits, what a fit rests on and how far it can be
trusted, and the case of a real instrument, where more can be said.

This script is meant for a notebook or for the gallery of the documentation (``make docs`` runs it there), which show
the table at the end of a cell and the figures. Run as a plain script it shows neither, only what is printed.
"""

# %%
import warnings
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.kernel_approximation import Nystroem

from causalkit.augmentation import (
    IVLikeRegressor,
    anderson_rubin,
    instrument_diagnostics,
    invariance_test,
)
from causalkit.augmentation import normalized_causal_excess_risk as ncer
from causalkit.augmentation.augmenters import (
    ChannelPermutation,
    NullSpaceShift,
)
from causalkit.datasets import (
    make_colored_digits,
    make_linear_augmentation,
)
from causalkit.plotting import (
    AlphaPathDisplay,
    AugmentationDiagnosticsDisplay,
)

pd.set_option("display.width", 120)

# %%
# 1. A simulation with a known effect
# -----------------------------------
# Thirty-two features, an outcome :math:`y = Xf + \xi`, and hidden variables behind both. ``basis`` holds directions
# along which f does not move; adding noise along them gives features GX with the same outcome.
#
# Errors are nCER in the Euclidean norm, :math:`|h-f|^2/(|h-f|^2+|f|^2)`: 0 at the truth, 1/2 where the fit is as good
# as no effect at all. The name of the norm belongs to the number, because the same fit can be better in one norm and
# worse in another.

data = make_linear_augmentation(2048, 32, random_state=0)
shift = NullSpaceShift(data.basis)


def error(coef):
    """Euclidean nCER."""
    return ncer(coef, data.coef, norm="euclidean")


common = {"augmentation": shift, "random_state": 0}
X, y = data.X, data.y
least_squares = IVLikeRegressor().fit(X, y)
augmented = IVLikeRegressor(alpha=np.inf, **common).fit(X, y)
projected = IVLikeRegressor(penalty="projected", **common).fit(X, y)
pointwise = IVLikeRegressor(**common).fit(X, y)
trusting = IVLikeRegressor(alpha=0.001, **common).fit(X, y)
fits = {
    "least squares": least_squares,
    "augmented least squares (alpha = inf)": augmented,
    "projected, alpha = 0.1 (published form)": projected,
    "pointwise, alpha = 0.1 (default)": pointwise,
    "pointwise, alpha = 0.001": trusting,
}
errors = pd.Series({name: error(m.coef_) for name, m in fits.items()})
errors.rename("nCER").round(4).to_frame()

# %%
# alpha is *distrust in the invariance*: at infinity the augmentation is only used to make more rows, at zero the fit
# is least squares within the directions that nothing moves. All values come from one factorisation.

display = AlphaPathDisplay.from_estimator(pointwise)

# %%
# The risk falls to the right and the error falls to the left: **a good fit is no sign of a small causal error**, so a
# cross-validated alpha is too large. *What not to conclude:* that the smallest alpha is best. It is here, because the
# invariance was built in.

grid = np.logspace(-5, 2, 50)
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.plot(
    grid,
    error(projected.path(grid).coef),
    "--",
    color="#d55e00",
    label="projected",
)
ax.plot(
    grid,
    error(pointwise.path(grid).coef),
    color="#1f83c9",
    label="pointwise",
)
ax.axhline(errors["least squares"], color="#7f7f7f", label="least squares")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="alpha",
    ylabel="Euclidean nCER",
    title="One sample, n = 2048, p = 32",
)
ax.legend(frameon=False)
figure.show()

# %%
# The published estimator projects on the parameters G of the augmentation and pays for their noise: its error turns up
# again on the left. We drew G ourselves, so what it does to X is known without noise from the pairs (GX, X). That is
# all that "pointwise" uses, and it is this library's addition.
#
# **Intervals**, and what they cover. Standard errors come from influence values that count a row and all its draws as
# one unit. They are about :math:`h_\alpha`, the population's fit at this alpha, *not* about f.

target = data.population_coef(0.1)
intervals = pointwise.inference().conf_int().iloc[1:]
low, high = intervals["lower"], intervals["upper"]
truths = {"the population's fit at 0.1": target, "the effect f": data.coef}
for name, truth in truths.items():
    inside = (low <= truth) & (truth <= high)
    print(f"{inside.sum()} of 32 intervals cover {name}")

# %%
# **A violated invariance.** The effect gets a component of size delta (relative to f) along the directions that the
# augmentation moves; means of ten samples.


def errors_of(delta, seed):
    """Errors of three alphas and of least squares in one sample."""
    s = make_linear_augmentation(violation=delta, random_state=seed)
    moves = NullSpaceShift(s.basis)
    model = IVLikeRegressor(augmentation=moves, random_state=seed)
    path = model.fit(s.X, s.y).path([0.001, 0.1, np.inf])
    plain = IVLikeRegressor().fit(s.X, s.y)
    coefs = np.vstack([path.coef, plain.coef_])
    return ncer(coefs, s.coef, norm="euclidean")


rows = {}
for delta in (0.0, 0.1, 0.5, 1.0):
    each = [errors_of(delta, seed) for seed in range(10)]
    rows[delta] = np.mean(each, axis=0)
columns = ["alpha = 0.001", "alpha = 0.1", "alpha = inf", "least squares"]
table = pd.DataFrame(rows, index=columns).T.rename_axis("delta")
table.round(3)

# %%
# With a violation as large as the effect itself the penalty does harm: it forces a real effect to zero. The data
# cannot tell this from confounding.

# %%
# 2. Coloured digits: an exact invariance, non-linear
# ---------------------------------------------------
# Real images of digits, small or large (label 1 for 0 to 4, a quarter of the labels wrong). Their colour goes with the
# label in training, better than the shape does, and against it in a test. Swapping the two channels leaves the label
# alone *by construction*.

digits = make_colored_digits(random_state=0)
figure, axes = plt.subplots(
    2,
    6,
    figsize=(6.4, 2.4),
    layout="constrained",
)
for j in range(6):
    image = digits.train.X[j].reshape(2, 8, 8)
    for i, channels in enumerate((image, image[::-1])):
        axes[i, j].imshow(np.dstack([*channels, np.zeros((8, 8))]))
        axes[i, j].set_axis_off()
figure.suptitle("Training images, and with channels swapped")
figure.show()

# %%
# A kernel model is a feature map. One draw swaps about half of the rows; ``n_draws="orbit"`` takes both colours of
# every image with weight one half.

kernel = Nystroem(gamma=0.02, n_components=400, random_state=0)
swap = ChannelPermutation(digits.train.image_shape)
settings = {
    "least squares": {},
    "one draw": {"augmentation": swap, "alpha": np.inf},
    "orbit": {"augmentation": swap, "alpha": np.inf, "n_draws": "orbit"},
}
rows = {}
for name, setting in settings.items():
    model = IVLikeRegressor(
        feature_map=kernel,
        ridge=1 / 1200,
        random_state=0,
        **setting,
    ).fit(digits.train.X, digits.train.y)
    row = {}
    for rate, test in zip(digits.test_rates, digits.tests, strict=True):
        chosen = model.predict(test.X) > 0.5
        row[f"colour wrong in {rate:.0%}"] = (chosen == test.y).mean()
    row["true label, 90%"] = (chosen == test.true_label).mean()
    rows[name] = row
pd.DataFrame(rows).T.round(3)

# %%
# Accuracy against the noisy label cannot exceed .75. Least squares reads the colour and is worse than a coin where the
# colour misleads; the others cannot. With the whole orbit of a finite group no penalty is needed: averaging over it is
# already exact. *What not to conclude:* any other spurious feature, the thickness of a line say, would still be used.

# %%
# 3. What a fit rests on
# ----------------------
# ``diagnostics`` gathers it, in frames and in words. Here three directions of six are known.

some = make_linear_augmentation(
    2000,
    6,
    keep_probability=0.6,
    random_state=13,
)
model = IVLikeRegressor(
    augmentation=NullSpaceShift(some.basis),
    random_state=0,
)
model.fit(some.X, some.y)
found = model.diagnostics()
for note in found.notes:
    print(fill(note, 70, initial_indent="- ", subsequent_indent="  "))

# %%
# The eigenvalues say how far each direction is moved relative to its variance before the augmentation; ``shrinkage`` is
# the factor that the penalty leaves of it, on augmented features. Along the directions with a factor of 1 the fit is as
# confounded as least squares is; ``untouched`` is a basis of them.

found.moved.round(4)

# %%
# Distance between least squares and the fit within the invariant directions is what confounding has to explain if the
# invariance is right. It may need more than you believe.

found.breakdown.round(3)

# %%
# If you can name an upper limit for the share of the outcome's noise that hidden confounding explains, the effect has
# bounds. They are plug-in numbers; ``n_bootstrap`` adds standard errors of both ends. Below the needed share there are
# none: then either the confounding is stronger or the invariance is wrong, and the data cannot tell which. With a star:
# from the same limit without the invariance.

v = some.confounding_vector
noise = np.var(some.y - some.X @ some.coef)
share = v @ np.linalg.solve(some.covariance, v) / noise
print(f"true share, known in a simulation only: {share:.3f}")
for limit in (0.3, 0.8, 0.95):
    bounds = model.bounds(limit)
    print(fill(bounds.to_frame().attrs["note"], 70))
    if bounds.feasible:
        table = bounds.to_frame().assign(truth=some.coef)
        table.columns = ["lower", "upper", "lower*", "upper*", "truth"]
        print(table.round(2).to_string())

# %%
# A limit below the true share is wrong, and so are its bounds. The step from a limit to an interval is arithmetic; the
# limit is a judgement that only you can make.

figure, axes = plt.subplots(3, figsize=(6.4, 10.5), layout="constrained")
display = AugmentationDiagnosticsDisplay.from_estimator(model, ax=axes)

# %%
# *What not to conclude:* none of this tests the invariance. Synthetic G is independent of y whatever the effect is.

# %%
# 4. A real instrument
# --------------------
# Real instruments use the same class. Two features, three instruments, and an unseen cause of both features and
# outcome. The effect is (1, 0). alpha = 0 is two-stage least squares.

rng = np.random.default_rng(0)
n = 500
Z = rng.standard_normal((n, 3))
hidden, noise = rng.standard_normal((2, n))
X = hidden[:, None] + 0.5 * rng.standard_normal((n, 2))
X += np.column_stack([Z[:, 0], Z[:, 1]]) + 0.5 * Z[:, [2]]
y = X[:, 0] + 2 * hidden + noise
for alpha in (np.inf, 0.1, 0):
    real = IVLikeRegressor(alpha=alpha).fit(X, y, instruments=Z)
    print(f"alpha = {alpha}: {real.coef_.round(2)}")
real.inference().conf_int().round(2)

# %%
# Strength of the instruments, and the Anderson-Rubin set, which holds however weak they are:

strength = instrument_diagnostics(X, y, instruments=Z)
print(strength["value"].dropna().round(2).to_string())
print(anderson_rubin(X, y, instruments=Z, contrast=[1, 0]))

# %%
# With a weak instrument the interval of two-stage least squares means little. The set says so: it may be two rays, or
# the whole line.

for size in (1.0, 0.1, 0.03):
    z = Z[:, [0]]
    x = size * z + hidden[:, None] + 0.5 * rng.standard_normal((n, 1))
    outcome = x[:, 0] + 2 * hidden + noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weakness: see F below
        strength = instrument_diagnostics(x, outcome, instruments=z)
        weak = IVLikeRegressor(alpha=0).fit(x, outcome, instruments=z)
    low, high = weak.inference().conf_int().iloc[1]
    known = anderson_rubin(x, outcome, instruments=z).confidence_set()
    F = strength.loc["effective_f", "value"].iloc[0]
    print(f"F = {F:.1f}")
    print(f"    two-stage least squares: [{low:.2f}, {high:.2f}]")
    print(f"    Anderson-Rubin set:      {known}")

# %%
# And with a real instrument an invariance *can* be tested. That the second feature has no effect is true here, that
# the first has none is false:

for direction in ([0, 1], [1, 0]):
    print(f"no effect along {direction}:")
    test = invariance_test(X, y, instruments=Z, directions=direction)
    print(test.to_frame().round(4).to_string())

# %%
# The guide says when an augmentation helps and when it does harm, and what the published guarantees do and do not
# promise.
