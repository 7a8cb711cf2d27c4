"""
Effects on a citation network: for whom, and how sure
=====================================================

Papers cite each other. Suppose that a treatment reaches some of them, and that both its effect and the chance of being
treated depend on what their *neighbours* are about. A model of a paper's own words sees neither. This tutorial goes
from the edge list to an interval that knows the network, to a map of effects, and to a decision on a budget. Part two
asks whether treatments reach the neighbours.

**The data are semi-synthetic.** The network is real: Cora, 2,708 papers on machine learning and 5,278 citations between
them, with ten components of their words as covariates. Treatment and outcome are simulated, so that the truth is
known and every estimate can be held against it.

This script is meant for a notebook or for the gallery of the documentation (``make docs`` runs it there), which show
the table at the end of a cell and the figures. Run as a plain script it shows neither, only what is printed.
"""

# %%
import warnings
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from causalkit.datasets import (
    load_cora,
    make_graph_heterogeneity,
    make_graph_uptake,
)
from causalkit.graph import (
    Graph,
    GraphKFold,
    GraphRLearner,
    HopFeatures,
    SpilloverRLearner,
)
from causalkit.inference import covariate_association
from causalkit.plotting import (
    EffectMapDisplay,
    OverlapDisplay,
    TOCDisplay,
)

pd.set_option("display.width", 110)
warnings.simplefilter("ignore")  # what matters is shown below

# %%
# 1. From an edge list to a graph
# -------------------------------
# One row per citation, one row per paper. ``nodes=`` lists every paper, so that papers without links would count, too;
# the report says what was dropped or merged.

cora = load_cora()
graph = Graph.from_pandas(cora.edges, nodes=cora.nodes["node"])
print(graph)
print(fill(str(graph.report), 66))

# %%
# Covariates are ten standardised components of the words. Ids of the papers are the index: rows are matched to nodes
# by ``nodes=``, never by a guess.

X = cora.nodes.set_index("node")[cora.feature_names[:10]]
X = (X - X.mean()) / X.std()
subject = cora.nodes["subject"].to_numpy()
X.head(3).round(2)

# %%
# **The simulated part.** With Z the standardised means of the neighbours' covariates,
#
# .. math:: e &= \sigma(.5 X_0 - .7 Z_1), \qquad \tau = 2 + 1.5\sin Z_0, \\
#           Y &= Z_0 + .5 X_1 + T\tau + .5\varepsilon .
#
# Neighbours drive the chance of treatment, the outcome *and* the effect.

data = make_graph_heterogeneity(
    graph=graph.to_scipy(),
    X=X.to_numpy(),
    random_state=0,
)
y = pd.Series(data.y, index=X.index)
treatment = pd.Series(data.treatment, index=X.index)
truth = data.effect
print(f"treated: {treatment.mean():.3f}")
print(f"average effect: {truth.mean():.3f}")
print(f"variance of the effect: {truth.var():.3f}")

# %%
# 2. Own covariates, and what they miss
# -------------------------------------
# The estimate that one would make without the network: econml's ``LinearDML`` on own covariates.


def own_covariates():
    """Average effect and interval, effects, residuals."""
    try:
        from econml.dml import LinearDML
    except ImportError:
        return None
    model = LinearDML(
        model_y=HistGradientBoostingRegressor(random_state=0),
        model_t=LogisticRegression(),
        discrete_treatment=True,
        cv=5,
        random_state=0,
    )
    model.fit(data.y, data.treatment, X=data.X, cache_values=True)
    found = model.ate_inference(data.X)
    low, high = found.conf_int_mean()
    outcome, assigned, *_ = model.residuals_
    return (
        float(found.mean_point),
        float(low),
        float(high),
        np.ravel(model.effect(data.X)),
        np.ravel(outcome),
        np.ravel(assigned),
    )


own = own_covariates()
if own is None:
    print("econml is not installed: pip install -e '.[econml]'")
else:
    average, low, high = own[:3]
    print(f"own covariates: {average:.3f} [{low:.3f}, {high:.3f}]")
    print(f"truth:          {truth.mean():.3f}")
    error = np.mean((own[3] - truth) ** 2) / truth.var()
    print(f"error of its effects: {error:.2f} of their variance")

# %%
# The average is not far off here, on which one cannot count; the effects of single papers are. Papers cite their like,
# so that own words tell *something* of the neighbours', but not much.
#
# On real data there is no truth to hold this against. But residuals of adequate nuisances go with *no* covariate, and
# those of the neighbours are at hand. The largest :math:`\sqrt n\,|\mathrm{corr}|` should be 3 at most:

hop = HopFeatures(hops=1, operators=("mean",), include_own=False)
near = pd.DataFrame(
    hop.fit_transform(X, graph=graph, nodes=X.index),
    columns=hop.get_feature_names_out(),
)
if own is not None:
    residuals = {"outcome": own[4], "treatment": own[5]}
    for name, residual in residuals.items():
        found = covariate_association(residual, near)
        print(f"{name}: {found.statistic:.1f} at {found.column}")

# %%
# Both residuals go with the neighbours' means: there is confounding that own covariates do not see. The test needs no
# truth and no network model, only the edge list.

# %%
# 3. The learner
# --------------
# One region of the network is set aside, to predict it later: a fold of :class:`~causalkit.graph.GraphKFold`, which
# cuts few citations. The others are the rows of the fit. Covariates of *all* papers hang on the graph: neighbours in
# the region still inform those outside, by their covariates alone.

full = graph.with_features(X, nodes=X.index)
cut = GraphKFold(8, random_state=0)
rows, region = next(cut.split(X, graph=full, nodes=X.index))
fitted = X.index[rows]

model = GraphRLearner(n_jobs=2, random_state=0)
model.fit(
    X.loc[fitted],
    y.loc[fitted],
    treatment=treatment.loc[fitted],
    graph=full,
    nodes=fitted,
)
error = np.mean((model.effect_ - truth[rows]) ** 2)
print(f"{len(rows)} rows, {len(region)} set aside")
print(f"squared error of the effects: {error:.3f}, or")
print(f"{error / truth[rows].var():.2f} of their variance")

# %%
# **How the final stage was chosen.** Candidates are compared by the loss on nodes that were held out; the best are
# averaged with weights. ``r_score`` is the share of the constant's loss that a candidate saves; the noise of the
# outcome keeps it well below one even for the true effects. Where nothing beats a constant by a standard error, the
# constant is used.

model.selection_.round(4)

# %%
# The same test as above, for the nuisances of the learner:

model.residual_dependence()

# %%
# 4. The map
# ----------
# Effects out-of-fold beside the truth, on one scale. Papers of the region that was set aside are small and grey.

display = EffectMapDisplay.from_estimator(model, truth=truth[rows])

# %%
# 5. How sure? Three standard errors
# ----------------------------------
# Independent rows, network HAC, and clusters that are found in the network. Only a handful of clusters come near to
# standing apart, and the library warns that they are too few.


def three_errors(average):
    """Standard errors, by the dependence that they allow for."""
    found = {}
    for name in ("iid", "network", "cluster"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found[name] = average(dependence=name)
        print(fill(f"{name}: {found[name].dependence}", 66))
        for one in caught:
            print(fill(f"warns: {one.message}", 66))
    table = pd.DataFrame({"estimate": found["iid"].estimate})
    for name, one in found.items():
        table[name] = one.std_error
    return table


three_errors(model.ate).round(3)

# %%
# Allowing for the network makes the interval three times as long. Not because the estimate is that noisy: effects of
# neighbours are alike, and the interval is about a wider population of papers on this network. For exactly these papers
# it is too wide. With four clusters the third column is hardly better than a guess.
#
# By subject: what the analysis is for. The last column is the average of the true effects in the group.

labels = pd.Series(subject[rows]).str.replace("_", " ")
by_subject = pd.DataFrame(index=np.unique(labels))
for name in ("iid", "network", "cluster"):
    average = model.gate(labels, dependence=name)
    by_subject["estimate"] = average.estimate
    by_subject[name] = average.std_error
by_subject["truth"] = pd.Series(truth[rows]).groupby(labels).mean()
by_subject.round(3)

# %%
# 6. Are the differences real, and can one target by them?
# --------------------------------------------------------
# The calibration test regresses residuals on the average effect and on predicted deviations from it: slopes near one
# say that level and spread are right.

model.calibration()

# %%
# The targeting curve: how much larger the average effect is among those with the largest predictions than among all.

display = TOCDisplay.from_estimator(model)

# %%
# 7. Overlap
# ----------
# Papers with many citations may have other chances of treatment than those with one.

display = OverlapDisplay.from_estimator(model)

# %%
# 8. A budget
# -----------
# Treat a fifth, at a cost of 2 per paper. The value is per paper of the whole network, over treating nobody.

best = model.targeting(0.2, cost=2.0)
net = truth[rows] - 2.0
k = len(rows) // 5
ideal = np.sort(net)[-k:].sum() / len(rows)
print(f"with the true effects known: {ideal:.3f}")
best.round(3)

# %%
# 9. The region that was set aside
# --------------------------------
# ``predict`` needs the network and the covariates, no outcomes.

unseen = X.index[region]
predicted = model.predict(X.loc[unseen], graph=full, nodes=unseen)
error = np.mean((predicted - truth[region]) ** 2)
correlation = np.corrcoef(predicted, truth[region])[0, 1]
print(f"correlation with the truth: {correlation:.2f}")
print(f"squared error {error:.3f}, or")
print(f"{error / truth[region].var():.2f} of the variance")

# %%
# 10. Do treatments reach the neighbours?
# ---------------------------------------
# Part two is a simulated town: 2,500 homes, linked to those close by. Uptake of a vaccine clusters, because attitudes
# do; it lowers the days of illness by 2 in the home itself and by **.5 in each neighbouring home**. Four analysts:

town = make_graph_uptake(2500, random_state=0)
streets = Graph.from_scipy(town.adjacency)
t, exposed = town.treatment, town.exposure


def regression(*columns):
    """Least squares, robust errors: own uptake and exposure."""
    import statsmodels.api as sm

    design = np.column_stack([np.ones(len(t)), t, exposed, *columns])
    fit = sm.OLS(town.y, design).fit(cov_type="HC1")
    return fit.params[1:3], fit.bse[1:3]


found = {
    "no covariates": regression(),
    "own covariates": regression(town.X, town.X[:, :1] ** 2),
}
spill = SpilloverRLearner(
    exposure="count",
    final_model="constant",
    n_jobs=2,
    random_state=0,
)
spill.fit(town.X, town.y, treatment=t, graph=streets)
pair = [spill.ate(effect=name) for name in ("direct", "spillover")]
found["SpilloverRLearner"] = (
    np.array([one.estimate[0] for one in pair]),
    np.array([one.std_error[0] for one in pair]),
)
try:
    import graphdml
except ImportError:
    print("graphdml is not installed; its intervals are left out")
else:
    town_data = graphdml.GraphData(
        X=town.X,
        T=t,
        Y=town.y,
        adjacency=town.adjacency,
    )
    peer = graphdml.GraphDML(exposure="sum", random_state=0)
    peer.fit(town_data)
    found["graphdml"] = peer.coef_[:2], peer.se_[:2]

table = pd.DataFrame(
    {
        name: {
            "direct": b[0],
            "its error": s[0],
            "spillover": b[1],
            "error": s[1],
        }
        for name, (b, s) in found.items()
    }
).T
table.round(3)

# %%

colours = {"SpilloverRLearner": "#1f83c9", "graphdml": "#7f7f7f"}
figure, axes = plt.subplots(
    1,
    2,
    figsize=(9, 2.8),
    layout="constrained",
    sharey=True,
)
for ax, which, true, name in zip(
    axes,
    (0, 1),
    (-2.0, -0.5),
    ("direct effect", "spillover per treated neighbour"),
    strict=True,
):
    for at, (label, (b, s)) in enumerate(found.items()):
        colour = colours.get(label, "#d55e00")
        ax.errorbar(
            b[which],
            at,
            xerr=1.96 * s[which],
            fmt="o",
            capsize=3,
            color=colour,
        )
    ax.axvline(true, color="#7f7f7f", lw=1, zorder=0)
    ax.set(xlabel=name, ylim=(len(found) - 0.5, -0.5))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_yticks(range(len(found)), list(found))
figure.show()

# %%
# Without the neighbours' attitudes both effects look larger than they are: homes in willing neighbourhoods have more
# treated neighbours *and* less illness anyway. ``graphdml`` is right, too; it keeps a subset of homes that are not
# neighbours of each other, and its intervals are about three times as long. Everybody against nobody:

spill.ate(effect="total").summary().round(3)

# %%
# Does the exposure reach far enough? A second one, the share of treated homes two steps away, does nothing here:

spill.two_hop_test()

# %%
# The guide says which estimand belongs to which question, how the bandwidth is chosen, and what none of this can see:
# above all an attitude that neighbours share and nobody recorded.
