"""
Which parts of a whole are directly related
===========================================

Oxides in glass, bacteria in soil, pupils of a district, hours of a day: the columns are parts of a whole, and only
their ratios mean anything. This page goes from a table of percentages to a network of parts with error control, then
does the same for a table of counts with zeros, and ends with a pipeline.

It reads two tables where their files are at hand: eleven oxides in 47 Roman glass cups, and bacteria in 88 soils.
Neither is shipped (the copies that we know are under the GPL, or belong to another project; the variable
``CAUSALKIT_DATA`` names the folder). Otherwise it uses the enrolment of Californian schools, which comes with
statsmodels, and simulated counts whose true network is known. The text names the table that it speaks of.
"""

# %%
# Which tables this page was made with
# ------------------------------------

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from causalkit import datasets
from causalkit.composition import (
    ILR,
    CompositionalGraphicalLasso,
    CompositionalPartialCorrelation,
    ZeroReplacement,
    stability_selection,
)
from causalkit.exceptions import DatasetNotFoundError
from causalkit.plotting import PartialCorrelationDisplay

pd.set_option("display.width", 120)

try:
    whole = datasets.fetch_roman_glass_cups().parts
    kept, pair = ["Al", "Mg", "Ca", "Na", "K"], ("Al", "Na")
    print("Percentages: Roman glass cups")
except DatasetNotFoundError:
    shares = datasets.load_school_shares().parts
    whole = shares[(shares > 0).all(axis=1)]
    kept, pair = ["asian", "hispanic", "other"], ("asian", "other")
    print("Percentages: pupils of Californian counties and districts")
    print(f"({len(shares) - len(whole)} rows with a zero are left out)")
print(f"n = {whole.shape[0]} rows, D = {whole.shape[1]} parts")
whole.head(3).round(2)

# %%
# 1. Percentages mislead
# ----------------------
# Percentages add up to 100: when one part rises, the others must fall. Their correlations are pulled down by that
# alone, and :math:`D` parts have :math:`D` columns but :math:`D - 1` dimensions. A *partial correlation of log-ratios*
# is free of this: it is the correlation of :math:`\log(x_i/x_k)` and :math:`\log(x_j/x_k)` given all other log-ratios,
# the same for every reference :math:`k`. It changes neither with the units of a part nor with the total of a row.

network = CompositionalPartialCorrelation(shrinkage=None).fit(whole)
table = network.to_frame()
of_percentages = whole.corr()
ends = zip(table["part_a"], table["part_b"], strict=True)
table["of percentages"] = [of_percentages.loc[a, b] for a, b in ends]
shown = ["part_a", "part_b", "of percentages", "partial_correlation"]
table[[*shown, "lower", "upper", "qvalue"]].head(8).round(3)

# %%
# Among the glass cups silicon and aluminium have a correlation of -.64 in percentages, and a partial correlation of
# +.72: glass with more silica has less of nearly everything else, but *given the other ratios* the two go together.
# Silicon and sodium, -.92 in percentages, have +.25, which 47 cups cannot tell from zero. Among the pupils Hispanic and
# other have -.86 and +.45.

for a, b in [("Si", "Al"), ("Si", "Na"), ("hispanic", "other")]:
    if a in whole and b in whole:
        r = network.block([a], [b])[0, 0]
        print(f"{a}, {b}: {of_percentages.loc[a, b]:+.2f} of percentages,")
        print(f"    {r:+.2f} given all other parts")

# %%
# The network of pairs with :math:`q \le .05` (Benjamini and Hochberg over all pairs). *What not to conclude:* a line is
# a conditional association, neither a cause nor a chemical bond, and the absence of a line is not evidence of
# independence. (The cups have four lines. Among the pupils, with 294 rows for four parts, every pair has one; part 2
# shows that this says little.)

display = PartialCorrelationDisplay.from_estimator(network, "network")

# %%
# All partial correlations, in the order of a clustering. *What not to conclude:* the colours are point estimates; a
# pale square may be a strong relation that this number of rows cannot show.

display = PartialCorrelationDisplay.from_estimator(network, "matrix")

# %%
# The biplot shows the ratios themselves: the distance between two heads is roughly the standard deviation of the
# log-ratio of these parts. *What not to conclude:* parts that point the same way vary together, but a biplot shows no
# partial correlation.

display = PartialCorrelationDisplay.from_estimator(
    network,
    "biplot",
    X=whole,
)

# %%
# 2. Two null hypotheses
# ----------------------
# Take amounts that have nothing to do with each other, and divide them by their sum. Their partial correlations are
# then not zero but positive,
#
# .. math:: r^0_{ij} = \sqrt{\frac{\omega_i\omega_j}{(W-\omega_i)(W-\omega_j)}}, \quad W = \sum_k \omega_k,
#
# with :math:`\omega` one over the variances of the log amounts: the sum itself links all parts. So there are two
# questions. ``null="zero"``: are the log-ratios conditionally independent? ``null="closure"``: is there more than
# closing independent amounts produces? Every p-value belongs to one of them.

closure = CompositionalPartialCorrelation(
    shrinkage=None,
    null="closure",
).fit(whole)
both = table[[*shown[:2], "partial_correlation", "closure_null"]].copy()
both["q zero"] = table["qvalue"]
i = whole.columns.get_indexer(both["part_a"])
j = whole.columns.get_indexer(both["part_b"])
both["q closure"] = closure.qvalues_[i, j]
either = both[["q zero", "q closure"]].min(axis=1) <= 0.05
both.columns = ["part_a", "part_b", "r", "r0", "q zero", "q closure"]
both[either].round(4)

# %%
# What changes: a pair with a positive r may be no more than closure (calcium and sodium in the cups, asian and other
# among the pupils), and a pair with r near zero may be *below* what closure alone gives (aluminium and calcium; asian
# and Hispanic). With few parts of unequal variance :math:`r^0` is large and the two nulls differ; with many parts it is
# small.
#
# *What not to conclude:* neither null is the right one in general. If you ask about log-ratios, it is zero; if you
# imagine amounts behind the shares, it is closure.

display = PartialCorrelationDisplay.from_estimator(closure, "null")

# %%
# 3. It depends on what was measured
# ----------------------------------
# "Given all other parts" changes when parts are dropped. Ratios of two parts do not care; partial correlations do.

some = CompositionalPartialCorrelation(shrinkage=None).fit(whole[kept])
print(f"{pair[0]}, {pair[1]}")
print(f"among {whole.shape[1]} parts: {network.block(*pair)[0, 0]:.2f}")
print(f"among {len(kept)} parts:  {some.block(*pair)[0, 0]:.2f}")
others = [part for part in kept if part not in pair]
answer = network.ci_test(*pair, others)
print(f"ci_test given {', '.join(others)}:")
print(f"    r = {answer.r:.2f}, p = {answer.pvalue:.1e}")

# %%
# Neither value is wrong. Write the list of parts beside the number. A learner of graphs that calls ``ci_test`` for many
# sets of parts asks about a different subcomposition every time.
#
# Nor is every column data. Before reading an edge, count the different values of a part: in the cups manganese takes
# .01, .02 and .03 only, so its logarithm is rounding, and its links (or their absence) mean nothing.

whole.nunique().rename("different values").to_frame().T

# %%
# 4. Shrinkage, and units
# -----------------------
# :math:`\Gamma^+` is ruled by the smallest eigenvalues of the log-ratio covariance, the worst measured ones. With many
# rows per part that does no harm; with few, shrinkage pays, and with fewer rows than parts there is no other way: the
# unshrunk fit is refused. *What not to conclude* from the figure: it does not count factors.

display = PartialCorrelationDisplay.from_estimator(network, "scree")

# %%
# ``"basis"`` shrinks the logs of the shares to independent amounts (Jin, Notredame and Erb). It is not unit-invariant:
# measure one part in another unit, close the rows again, and r moves. ``"invariant"`` shrinks to the same kind of
# target, found from log-ratios alone.

rng = np.random.default_rng(0)
factors = np.exp(1.5 * rng.standard_normal((20, whole.shape[1])))
rows = []
for method in (None, "basis", "invariant"):
    fit = CompositionalPartialCorrelation(shrinkage=method).fit(whole)
    again = CompositionalPartialCorrelation(shrinkage=method, test=None)
    change = []
    for factor in factors:
        moved = again.fit(whole * factor).partial_correlation_
        change.append(np.abs(moved - fit.partial_correlation_).max())
    rows.append(
        {
            "shrinkage": method or "none",
            "intensity": fit.shrinkage_,
            "edges": len(fit.to_frame(max_qvalue=0.05)),
            "null": "zero" if method is None else "closure",
            "change, median": np.median(change),
            "change, largest": np.max(change),
        }
    )
pd.DataFrame(rows).set_index("shrinkage").round(3)

# %%
# The last two columns are the largest change of any r when every part gets another unit, twenty times at random.
# Shrinkage changes the order of the pairs too, and networks with different intensities should not be compared.

# %%
# 5. A table of counts with zeros
# -------------------------------
# Counts have zeros, and a logarithm needs a rule for them.

try:
    soil = datasets.fetch_soil_otu()
    counts = soil.parts.drop(index="103.BB1")  # a single read
    counts = counts.loc[:, (counts > 0).sum() >= 20]
    driver = soil.ph.loc[counts.index].rename("pH")
    related = None
    print("Counts: bacteria in soils; sample 103.BB1 has one read")
    print("and is dropped, parts seen in 20 samples or more are kept")
except DatasetNotFoundError:
    print("Counts: simulated taxa with a known network")
    n, d = 150, 30
    truth = datasets.make_composition_network(
        n,
        d,
        mean_sd=1.5,
        random_state=0,
    )
    related = truth.adjacency
    rng = np.random.default_rng(0)
    driver = pd.Series(rng.normal(size=n), name="acidity")
    moved = np.zeros(d)  # acidity moves four unrelated taxa
    moved[[2, 8]], moved[[5, 11]] = 1.3, -1.3
    amounts = truth.amounts * np.exp(np.outer(driver, moved))
    shares = amounts / amounts.sum(axis=1, keepdims=True)
    reads = rng.lognormal(np.log(1500), 0.4, size=n).astype(int)
    drawn = rng.multinomial(reads, shares)
    names = [f"t{j + 1:02d}" for j in range(d)]
    counts = pd.DataFrame(drawn, columns=names)
zero = (counts == 0).to_numpy()
print(f"n = {counts.shape[0]} rows, D = {counts.shape[1]} parts,")
print(f"{zero.mean():.0%} zeros")

# %%
# Zeros without a rule are refused, and the message says what to do:

try:
    CompositionalPartialCorrelation().fit(counts)
except ValueError as error:
    print(fill(str(error), 70))

# %%
# Four rules side by side. ``gbm`` and ``sq`` put what a prior from the other rows expects, ``czm`` a fixed fraction,
# and ``lrsvd`` what a low-rank fit of the log-ratios says. Imputed cells above the smallest share that was ever
# observed of their part are capped; many caps mean that the rule's own model does not fit. Truth, where it is known, is
# in the last column.


def pairs(mask):
    """Pairs above the diagonal where the mask holds."""
    return set(zip(*np.nonzero(np.triu(mask, 1)), strict=True))


fits, rows = {}, []
for rule in ("gbm", "sq", "czm", "lrsvd"):
    fit = CompositionalPartialCorrelation(
        shrinkage="basis",
        zero_replacement=rule,
    ).fit(counts)
    fits[rule] = fit
    learned = fit.zero_replacement_
    filled = ZeroReplacement(method=rule).fit_transform(counts)
    cap = learned.fraction * learned.column_minimum_
    capped = (zero & np.isclose(filled, cap)).sum()
    row = {
        "rule": rule,
        "imputed mass, %": 100 * np.median((filled * zero).sum(axis=1)),
        "capped cells": "" if rule == "lrsvd" else f"{capped / zero.sum():.0%}",
        "p <= .01": len(pairs(fit.pvalues_ <= 0.01)),
        "q <= .05": len(pairs(fit.qvalues_ <= 0.05)),
    }
    if related is not None:
        row["true, q <= .05"] = len(pairs((fit.qvalues_ <= 0.05) & related))
    rows.append(row)
pd.DataFrame(rows).set_index("rule").round(3)

# %%
# The pairs that survive every rule. On the soils, with 63 % zeros, hardly any pair reaches :math:`q \le .05`, and the
# honest answer is that 88 samples do not support a network of 95 taxa; the pairs with :math:`p \le .01` below are
# candidates, not findings. On the simulated counts five pairs in every network are false: the acidity moves four taxa
# that are not related, and nobody has told the estimator.

level = 0.05 if related is not None else 0.01


def chosen(fit):
    """Pairs that pass: by q where truth is known, by p on the soils."""
    values = fit.pvalues_ if related is None else fit.qvalues_
    return pairs(values <= level)


by_rule = [chosen(fit) for fit in fits.values()]
survivors = set.intersection(*by_rule)
print(f"under some rule: {len(set.union(*by_rule))} pairs")
print(f"under all four:  {len(survivors)} pairs")
labels = np.array(counts.columns)
first, second = np.array(sorted(survivors)).reshape(-1, 2).T
r = fits["gbm"].partial_correlation_[first, second]
listed = pd.DataFrame({"a": labels[first], "b": labels[second], "r": r})
listed.sort_values("r", ascending=False, ignore_index=True).head(8).round(3)

# %%
# Where a variable moves several parts at once, it links all of them. ``confounders`` regresses it out of the log-ratios
# before anything else. On the simulated counts the false pairs go and true ones come to light; on the soils pH is a
# large part of all variation, and removing it shows pairs that it had covered.

adjusted = CompositionalPartialCorrelation(
    shrinkage="basis",
    zero_replacement="gbm",
).fit(counts, confounders=driver.to_frame())
before, after = chosen(fits["gbm"]), chosen(adjusted)
print(f"{driver.name} removed: {len(before)} pairs before, {len(after)} after")
print(f"vanished: {len(before - after)}, new: {len(after - before)}")
if related is not None:
    true = pairs(related)
    print(f"false among the vanished: {len((before - after) - true)}")
    print(f"false among those kept:   {len(after - true)}")

# %%
# *What not to conclude:* that an edge survives adjustment for one variable says nothing about the variables that nobody
# measured. Lines below have :math:`q \le .05`; a figure without lines is a result.

display = PartialCorrelationDisplay.from_estimator(adjusted, "network")

# %%
# The p-values of all pairs. With shrinkage their null is closure, and they should be uniform where nothing is related
# (in simulations of independent counts with half of the cells zero, 5 to 7 % of them are below .05). *What not to
# conclude:* pairs share parts, so the p-values depend on each other, and a bulge proves nothing by itself.

display = PartialCorrelationDisplay.from_estimator(adjusted, "pvalues")

# %%
# 6. Stability instead of p-values
# --------------------------------
# The graphical lasso sets most pairs to exactly zero. How many depends on its penalty; stability selection takes the
# densest penalty whose network comes back when a part of the rows is left out. It is a rule for choosing a penalty,
# *not* a bound on false edges: compare its number with the q-values above.

filled = ZeroReplacement(method="gbm").fit_transform(counts)
stable = stability_selection(
    CompositionalGraphicalLasso(),
    filled,
    alphas=np.geomspace(0.9, 0.2, 6),
    n_subsamples=10,
    random_state=0,
)
path = pd.DataFrame(
    {
        "penalty": stable.alphas,
        "instability": stable.instability,
        "edges in 9 of 10": [int((f >= 0.9).sum()) // 2 for f in stable.edge_frequency],
    }
)
print(f"chosen penalty: {stable.alpha:.2f}")
path.round(3)

# %%
n, d = counts.shape
figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.plot(stable.alphas, stable.monotone_instability, "o-", color="#1f83c9")
ax.axhline(0.05, color="#d55e00", ls="--", label="threshold")
ax.set(
    xlabel="penalty, as a share of the largest covariance",
    ylabel="instability",
    xscale="log",
    title=f"Stability selection, n = {n}, D = {d}",
)
ax.legend(frameon=False)
figure.show()

# %%
# *What not to conclude:* an edge that comes back in nine of ten subsamples is reproducible in *these* rows; a
# confounder or a zero rule is reproducible too.

# %%
# A network leaves Python as a graph: networkx, or a GraphML file for Gephi and Cytoscape, with every part as a node.

graph = adjusted.to_networkx(max_qvalue=0.05)
print(graph)
with TemporaryDirectory() as folder:
    file = Path(folder) / "network.graphml"
    adjusted.to_graphml(file, max_qvalue=0.05)
    print(f"{file.name}: {file.stat().st_size} bytes")

# %%
# 7. In a pipeline
# ----------------
# ``score`` is the mean log-density of new rows in log-ratio coordinates, so that a search can tune the intensity. The
# rule for zeros learns from the training rows of each fold only (in a fold some parts may have more zeros than in the
# whole table, hence the higher limit).

steps = make_pipeline(
    ZeroReplacement(method="gbm", max_zero_fraction=0.9),
    CompositionalPartialCorrelation(test=None),
)
grid = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]
folds = KFold(5, shuffle=True, random_state=0)
search = GridSearchCV(
    steps,
    {"compositionalpartialcorrelation__shrinkage": grid},
    cv=folds,
)
search.fit(counts)
pd.DataFrame(
    {
        "intensity": grid,
        "log-density of held-out rows": search.cv_results_["mean_test_score"],
    }
).round(2)

# %%
# The intensity from the formula for comparison (it aims at a small error of the correlations, not at a high density):

print(f"by formula: {fits['gbm'].shrinkage_:.3f}")
print(f"by search:  {next(iter(search.best_params_.values()))}")

# %%
# The transformers are steps like any other. Here the composition predicts the variable that was a confounder before, in
# orthonormal coordinates, once with zeros replaced inside each fold:

model = make_pipeline(
    ZeroReplacement(method="gbm", max_zero_fraction=0.9),
    ILR(basis="pivot"),
    RidgeCV(alphas=np.logspace(-1, 4, 20)),
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # rows with few reads
    scores = cross_val_score(model, counts, driver, cv=folds)
print(f"R2 of {driver.name}, held out: {scores.mean():.2f}")

# %%
# The guide says which option fits which table, what each number assumes, and where the methods fall short.
