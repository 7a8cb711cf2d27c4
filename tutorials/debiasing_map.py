"""
A map as the outcome of a trial
===============================

Wealth read from satellite images, a symptom score read from notes by a language model, brain age: the outcome is a
model's prediction, and the truth is known on a *calibration sample* only. A model that minimises squared error
shrinks its predictions towards the mean, so a contrast of predictions is usually too small. This page corrects it in
eight steps, each against a truth that is known: the two slopes of a map, a map that a straight line cannot mend, the
errors of real data, the assumption that decides everything, the regression table, places that differ, labels in the
trial, and a pandas pipeline.

Steps 1, 3, 4 and 6 use a map of household income in the United States, where its file is at hand (it is not shipped,
because its origin states no licence; the variable ``CAUSALKIT_INCOME_MAP`` names it). Otherwise they use a small map
that needs no file: disease progression of 442 patients and its out-of-fold linear prediction.
"""

# %%
# Which map this page was made with
# ---------------------------------
# ``pool`` holds rows with both prediction and truth. Everything below reads these few names, so either map will do.

import warnings
from collections import Counter
from tempfile import TemporaryDirectory
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict

import causalkit as ck
from causalkit import datasets, plotting
from causalkit.exceptions import CalibrationWarning, DataNotFoundError

pd.set_option("display.width", 120)

try:
    income = datasets.load_income_map()
except DataNotFoundError:
    income = None

if income is not None:
    print("Made with the income map: 73 102 calibration rows,")
    print("18 275 trial rows, units of 10 000 dollars.")
    pool, trial = income.calibration.copy(), income.trial.copy()
    for part in (pool, trial):
        part["y"] = part["income"] / 1e4
        part["prediction"] /= 1e4
    regions = {
        "north less south": trial["lat"],
        "east less west": trial["lon"],
    }
else:
    print("Made with the patients' map: 442 rows,")
    print("split in half for calibration and trial in step 4.")
    patients = datasets.load_diabetes_map()
    pool = patients.frame.rename(columns={"progression": "y"})
    trial = pool[pool["test"] == 1]
    features = patients.features.loc[trial.index]
    regions = {
        "high less low body mass": features["bmi"],
        "older less younger": features["age"],
    }
predictions, outcomes = pool["prediction"], pool["y"]

# %%
# 1. A map and its two slopes
# ---------------------------
# Regress the prediction on the truth: the slope :math:`k` says how much of a difference in the truth the map shows.
# Regress the truth on the prediction: the slope :math:`b` is near 1 for any well-trained model. That is why a map can
# be well calibrated in the usual sense and still lose half of every effect. Their product is the squared correlation.

linear = ck.LinearCalibration().fit(predictions, outcomes)
print(f"k  = {linear.slope_:.3f}   prediction on truth")
print(f"b  = {linear.berkson_slope_:.3f}   truth on prediction")
print(f"kb = {linear.r_squared_:.3f}   squared correlation")

# %%
# Left: the mean prediction at each level of the truth. Right: predictions are too high for low values and too low for
# high ones; after the correction this error is small. It is not zero where the points on the left bend away from the
# line.

display = plotting.CalibrationDisplay.from_estimator(
    linear,
    predictions,
    outcomes,
)

# %%
# ``diagnostics`` puts both slopes beside tests of what the corrections assume.

linear.diagnostics().round(3)

# %%
# **A map too weak to correct.** Visits to a doctor, predicted from ten characteristics of 20 190 person-years (the RAND
# health insurance experiment, from statsmodels). It can be calibrated, but an effect on such a map is estimated as if
# nine of ten rows were thrown away, and whatever breaks the assumptions is multiplied by eleven.

from statsmodels.datasets import randhie

visits = randhie.load_pandas().data
log_visits = np.log1p(visits["mdvis"])
weak_map = cross_val_predict(
    LinearRegression(),
    visits.drop(columns="mdvis"),
    log_visits,
    cv=KFold(10),  # not shuffled: rows of one person stand together
)
weak = ck.LinearCalibration().fit(weak_map, log_visits)
rows_needed = ck.required_calibration_size(weak.r_squared_)
print(f"k = {weak.slope_:.3f}, b = {weak.berkson_slope_:.3f}")
print(f"squared correlation = share of effective rows = {weak.r_squared_:.3f}")
print(f"effects are multiplied by {1 / weak.slope_:.1f}")
print(f"calibration rows for 5 % noise: {rows_needed}")

# %%
# 2. A map that a straight line cannot mend
# -----------------------------------------
# Predictions with four modes. The true effect is 2, known by quadrature. Dividing by :math:`k` removes part of the
# bias; Tweedie's correction follows the score of the predictions' density, and the spline calibration asks directly for
# a curve with :math:`E[g(\hat Y) \mid Y] = Y`.

truth = datasets.mixture_map_truth(3.0)
corrections = {
    "linear": ck.LinearCalibration(),
    "Tweedie": ck.TweedieCorrection(random_state=0),
    "spline": ck.SplineCalibration(),
}


def covers(effect, value, std_error):
    """Whether the 95 % normal interval with this standard error holds the value."""
    return abs(effect.estimate[0] - value) < 1.96 * std_error


records, advice = [], Counter()
for seed in range(100):
    data = datasets.make_mixture_map(
        sigma=3.0,
        n_calibration=1000,
        n_arm=10_000,
        random_state=seed,
    )
    known_f, known_y = data.calibration_predictions, data.calibration_y
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, correction in corrections.items():
            correction.fit(known_f, known_y)
            effect = correction.effect(
                data.predictions,
                treatment=data.treatment,
            )
            sampling = np.sqrt(effect.variance_parts["sampling"].iloc[0])
            records.append(
                {
                    "method": name,
                    "estimate": effect.estimate[0],
                    "covers": covers(effect, 2.0, effect.std_error[0]),
                    "without calibration noise": covers(effect, 2.0, sampling),
                }
            )
    advice.update({str(warning.message).split(" (")[0] for warning in caught})
    raw = effect.naive
    records.append(
        {
            "method": "naive",
            "estimate": raw.estimate[0],
            "covers": covers(raw, 2.0, raw.std_error[0]),
        }
    )
table = pd.DataFrame(records).groupby("method").mean().astype(float)
table = table.loc[["naive", "linear", "Tweedie", "spline"]]
limits = [truth.naive, truth.linear_calibration, truth.tweedie, truth.effect]
table.insert(0, "limit", limits)
table.round(3)

# %%
# ``limit`` is the value for endless data (the spline's is 2 for a spline with many knots); the other columns are means
# over 100 samples of 1000 calibration rows and 20 000 trial rows. An interval that treats the correction as known is
# too short: the last column is what one gets by correcting first and running the usual software afterwards.
#
# What the estimators warned of on the way, and in how many of the 100 samples. A correction that falls somewhere is
# often a sign of too many knots. Here it is not: between the modes the exact correction falls too. The noise of this
# map is constant and normal, so a warning about it is the false alarm that a test gives now and then.

for message, count in advice.most_common():
    print(f"in {count} samples:")
    print(fill(message, 70))

# %%
# The score that Tweedie's correction follows. A straight line would give the linear correction:

display = plotting.ScoreDisplay.from_estimator(corrections["Tweedie"])

# %%
# 3. The errors of real data
# --------------------------
# Arms are now drawn from a probability that depends on the true outcome alone (the poorest quarter, or the least
# ill, is treated with probability .7, others with .3). So the treatment moves the prediction only through the truth,
# while the errors of the map are the real ones. Each estimate is divided by the true contrast: 1 is right.

if income is not None:
    n_calibration, n_trial, repetitions = 2000, 5000, 40
else:
    n_calibration, n_trial, repetitions = 221, 221, 150
contenders = {
    "LinearCalibration": ck.LinearCalibration(),
    "Tweedie, constant noise": ck.TweedieCorrection(n_knots=5),
    "Tweedie, noise varies": ck.TweedieCorrection(
        n_knots=5,
        noise="heteroscedastic",
    ),
    "SplineCalibration": ck.SplineCalibration(),
}
all_f, all_y = predictions.to_numpy(), outcomes.to_numpy()
real = datasets.tilt_arms(all_y, design="poor", random_state=0).effect

records, advice = [], Counter()
for seed in range(repetitions):
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(all_y))[: n_calibration + n_trial]
    here, there = chosen[:n_calibration], chosen[n_calibration:]
    arms = datasets.tilt_arms(
        all_y[there],
        design="poor",
        population=all_y,
        random_state=rng,
    )
    for name, contender in contenders.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            contender.fit(all_f[here], all_y[here])
            effect = contender.effect(all_f[there], treatment=arms.treatment)
        seen = {w for w in caught if issubclass(w.category, CalibrationWarning)}
        advice.update({(name, str(w.message).split(" (")[0]) for w in seen})
        records.append(
            {
                "method": name,
                "ratio to truth": effect.estimate[0] / real,
                "covers": covers(effect, real, effect.std_error[0]),
            }
        )
    ratio = effect.naive.estimate[0] / real
    records.append({"method": "naive", "ratio to truth": ratio})
by_method = pd.DataFrame(records).groupby("method")
table = by_method.mean().astype(float)
table.insert(1, "simulation error", by_method["ratio to truth"].sem())
table.loc[["naive", *contenders]].round(3)

# %%
# On the income map the naive contrast keeps half of the effect, and Tweedie's correction with constant noise overshoots
# by about a sixth: the map's errors grow with income, which it does not know. Letting the noise vary, or the spline,
# repairs it. On the 442 patients all corrections agree within the simulation error: with 221 calibration rows nothing
# finer than a line can be told from a line, and the advice is to use the line.
#
# The library sees the trouble in the calibration sample already (and that five knots are many for 221 rows):

for (name, message), count in advice.most_common():
    print(f"{name}, {count} of {repetitions} samples:")
    print(fill(message, 70))

# %%
# The same failure where it can be computed. The error variance of this simulated map rises with the prediction; the
# bias :math:`E[g(\hat Y) - Y \mid Y]` of each correction, exact but for the fit, should be zero along the whole axis.

data = datasets.make_heteroscedastic_map(
    n_calibration=20_000,
    random_state=0,
)
known_f, known_y = data.calibration_predictions, data.calibration_y
quantiles = [0.02, 0.1, 0.5, 0.9, 0.98]
points = np.quantile(known_y, quantiles)
bias = {"naive": datasets.heteroscedastic_map_bias(lambda u: u, points)}
for name, contender in contenders.items():
    with warnings.catch_warnings():
        # The warning about the residuals, as printed above.
        warnings.simplefilter("ignore", CalibrationWarning)
        contender.fit(known_f, known_y)
    bias[name] = datasets.heteroscedastic_map_bias(contender.transform, points)
bias = pd.DataFrame(bias, index=quantiles).T
bias.columns.name = "at this quantile of Y"
bias.round(3)

# %%
# 4. Where the assumption fails
# -----------------------------
# Every correction needs *exclusion*: given the true outcome, treatment does not move the prediction. The opposite is
# *surrogacy*: treatment moves the truth only through what the model sees, and then the naive contrast is right. Regions
# of a map, or patients sorted by a feature that the model uses, are "treatments" that the model sees by itself. Here
# the truth is known, so the two ends of the band can be compared with it.

known = linear
if income is None:
    first_half = pool[pool["test"] == 0]
    known = ck.LinearCalibration().fit(
        first_half["prediction"],
        first_half["y"],
    )

rows, results = [], {}
for name, position in regions.items():
    treatment = (position > position.median()).to_numpy().astype(int)
    result = known.effect(trial["prediction"], treatment=treatment)
    results[name] = result
    real = trial["y"][treatment == 1].mean() - trial["y"][treatment == 0].mean()
    low, high = sorted(result.band["estimate"].iloc[:2])
    rows.append((name, real, low, high, low <= real <= high))
    test = ck.exclusion_test(
        trial["prediction"],
        trial["y"],
        treatment=treatment,
    )
    print(f"{name}:\n    {test.attrs['reading']}")
columns = ["treatment", "truth", "band from", "band to", "holds the truth"]
regional = pd.DataFrame(rows, columns=columns).set_index("treatment")
regional.round(2)

# %%
# The printed lines are what ``exclusion_test`` reads from labels that a trial would not have. The band runs from the
# naive to the linearly corrected contrast; "correcting" these contrasts would have been a mistake. The curve shows the
# effect for every mixture of the two assumptions, the green line is the truth. East less west on the income map shows
# that the truth need not lie inside.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, (name, result) in zip(axes, results.items(), strict=True):
    truth = regional.loc[name, "truth"]
    plotting.BandDisplay.from_result(result, truth=truth, ax=ax)
    ax.set_title(name)

# %%
# ``assumption_robust`` is the interval that covers under every mixture:

robust = {name: result.assumption_robust() for name, result in results.items()}
pd.concat(robust).droplevel("effect").round(2)

# %%
# 5. The regression table that you already have
# ---------------------------------------------
# A regression of predictions on treatment and age, by statsmodels. The true coefficients are 5, .7 and .5. The map
# keeps half of everything and adds 2.

rng = np.random.default_rng(7)


def predict(wealth):
    """What the map says of a household with this wealth."""
    return 2 + 0.5 * wealth + 0.5 * rng.normal(size=len(wealth))


survey = pd.DataFrame({"wealth": rng.normal(5.5, 1.2, size=600)})
survey["predicted"] = predict(survey["wealth"])

villages = pd.DataFrame({"age": rng.normal(size=1500)})
villages["treated"] = (rng.normal(size=1500) + villages["age"] > 0).astype(int)
wealth = 5 + 0.7 * villages["treated"] + 0.5 * villages["age"]
wealth = wealth + rng.normal(size=1500)  # never observed
villages["predicted"] = predict(wealth)

calibration = ck.LinearCalibration().fit(survey["predicted"], survey["wealth"])
raw_fit = smf.ols("predicted ~ treated + age", villages).fit(cov_type="HC1")
params, vcov = ck.correct_vcov(raw_fit, correction=calibration)
pd.DataFrame(
    {
        "truth": [5, 0.7, 0.5],
        "raw": raw_fit.params,
        "corrected": params,
        "SE": np.sqrt(np.diag(vcov)),
        "SE, calibration ignored": raw_fit.bse / calibration.slope_,
    }
).round(3)

# %%
# ``correct_vcov`` needs nothing but coefficients and their covariance: a table from a paper will do, with
# ``LinearCalibration.from_coefficients`` for a published calibration study. With the rows at hand ``ols`` gives the
# same numbers, works for the nonlinear corrections too, and returns results of statsmodels, ready for ``t_test`` and
# for table makers. The left side of the formula names the *raw* predictions; they are corrected on the way.

regression = calibration.ols("predicted ~ treated + age", villages)
print(regression.statsmodels.summary().tables[1])

# %%
# One sentence belongs beside every map: **outcome: corrected map; covariate: raw map.** A corrected map on the
# right-hand side would attenuate its own coefficient.

# %%
# 6. Places that differ
# ---------------------
# Rows in one place resemble each other, and the slope is not the same between places as within them. On the income map
# a place is a cell of one degree and a site a square of ten; among the patients both are groups by sex and age.

if income is not None:
    north, west = np.floor(pool["lat"]), np.floor(-pool["lon"])
    place = north.astype(str) + " " + west.astype(str)
    tens = (north // 10 * 10).astype(int), (west // 10 * 10).astype(int)
    site = tens[0].map("{}N ".format) + tens[1].map("{}W".format)
    large = site.map(site.value_counts()) >= 500
    clusters = place  # cells of one degree inside squares of ten
else:
    fifths = [f"age {fifth} of 5" for fifth in range(1, 6)]
    age = pd.qcut(patients.features["age"], 5, labels=fifths).astype(str)
    sex = np.where(patients.features["sex"] > 0, "sex 1, ", "sex 2, ")
    site = place = sex + age
    large = pd.Series(True, index=pool.index)
    clusters = pd.Series(pool.index, index=pool.index)  # every patient

fits = {
    "rows as if independent": linear,
    "places as clusters": ck.LinearCalibration().fit(
        predictions,
        outcomes,
        groups=place,
    ),
}
for variation in ("within", "between"):
    with warnings.catch_warnings():
        # Ten groups of patients are few for a line between them.
        warnings.simplefilter("ignore", UserWarning)
        fits[f"{variation} places"] = ck.LinearCalibration(
            variation=variation,
        ).fit(predictions, outcomes, groups=place)
pd.DataFrame(
    {
        "k": {name: fit.slope_ for name, fit in fits.items()},
        "SE": {name: np.sqrt(fit.cov_[0, 0]) for name, fit in fits.items()},
    }
).round(4)

# %%
# A treatment given to whole places is measured by differences between places, one given inside them by differences
# within: the slope to divide by is the one at the level at which treatment varies (``variation=``).
#
# Slopes by site, alone and shrunk towards their mean. The shaded interval is for a site that nobody has calibrated.

sites = ck.HierarchicalCalibration().fit(
    predictions[large],
    outcomes[large],
    sites=site[large],
    groups=clusters[large],
)
display = plotting.SiteForestDisplay.from_estimator(sites)

# %%
# Transport: leave each site out, draw arms there as in step 3, and correct the contrast with the lines of the *other*
# sites. ``transport`` is the part of the variance that comes from not knowing the new site's own slope. (The
# warnings that are silenced here say that the new-site distribution is used, and that a site may reach beyond the range
# of the others.)

rows = []
for left_out in sites.sites_:
    here, others = (site == left_out) & large, (site != left_out) & large
    y_here = outcomes[here].to_numpy()
    arms = datasets.tilt_arms(y_here, random_state=0).treatment
    real = y_here[arms == 1].mean() - y_here[arms == 0].mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the two named above
        elsewhere = ck.HierarchicalCalibration().fit(
            predictions[others],
            outcomes[others],
            sites=site[others],
            groups=clusters[others],
        )
        result = elsewhere.effect(
            predictions[here],
            treatment=arms,
            sites=site[here],
        )
    interval = result.conf_int().iloc[0]
    parts = result.variance_parts.iloc[0]
    rows.append(
        {
            "site": left_out,
            "truth": real,
            "naive": result.naive.estimate[0],
            "corrected": result.estimate[0],
            "lower": interval["lower"],
            "upper": interval["upper"],
            "covers": interval["lower"] < real < interval["upper"],
            "transport": parts["transport"] / parts.sum(),
        }
    )
moved = pd.DataFrame(rows).set_index("site")
print(f"mean of naive / truth:     {(moved['naive'] / moved['truth']).mean():.2f}")
print(f"mean of corrected / truth: {(moved['corrected'] / moved['truth']).mean():.2f}")
moved.round(2)

# %%
# Contrasts travel; levels do not. The intercept of a new site is unknown in the same way, and a *mean* there needs
# labels from there.

# %%
# 7. Labels in the trial
# ----------------------
# A random part of the trial has the truth too. Prediction-powered estimates then need no assumption on the map at all;
# the correction needs no labels there. Which is more precise depends on the labelled share: they meet at
# :math:`\rho^2/(1+\rho^2)` for an endless calibration sample, and earlier for a small one.

data = datasets.make_gaussian_map(
    k=0.5,
    tau=0.5,
    n_calibration=400,
    n_arm=2000,
    random_state=0,
)
here = ck.break_even_share(0.5, effect=0.5, n_arm=2000, n_calibration=400)
print(f"break-even share: {here:.2f}")
print(f"with endless calibration rows: {ck.break_even_share(0.5):.2f}")

tables = {}
for share in (0.05, 0.6):
    labelled = np.random.default_rng(2).random(len(data.y)) < share
    tables[f"{share:.0%} labelled"] = ck.compare_corrections(
        data.predictions,
        treatment=data.treatment,
        calibration_predictions=data.calibration_predictions,
        calibration_y=data.calibration_y,
        y=np.where(labelled, data.y, np.nan),
    )
columns = ["estimate", "se", "lower", "upper", "assumption"]
pd.concat(tables).droplevel("effect")[columns].round(3)

# %%
# The true effect is .5. The naive interval misses it with the smallest standard error of all. Tweedie's correction
# finds that this map is Gaussian, where it *is* the linear one. What the labels buy besides precision is independence
# of exclusion: on a map where surrogacy holds instead, only the rows that do not rest on exclusion stay right (true
# effect .8).

data = datasets.make_surrogacy_map(
    k=0.6,
    tau=0.8,
    n_calibration=8000,
    n_arm=2000,
    random_state=3,
)
known_f, known_y = data.calibration_predictions, data.calibration_y
untreated = data.calibration_treatment == 0
labelled = np.random.default_rng(4).random(len(data.y)) < 0.2
table = ck.compare_corrections(
    data.predictions,
    treatment=data.treatment,
    calibration_predictions=known_f[untreated],
    calibration_y=known_y[untreated],
    y=np.where(labelled, data.y, np.nan),
)
table.droplevel("effect")[columns].round(3)

# %%
# Where treatment is known in the calibration sample, the assumptions can be tested and a differential error removed:

test = ck.exclusion_test(
    known_f,
    known_y,
    treatment=data.calibration_treatment,
)
print(test.attrs["reading"])
by_arm = ck.LinearCalibration(differential="shift").fit(
    known_f,
    known_y,
    treatment=data.calibration_treatment,
)
effect = by_arm.effect(data.predictions, treatment=data.treatment)
effect.summary().round(3)

# %%
# 8. In a pandas pipeline
# -----------------------
# A correction is a transformer of one column, so it fits between reading a file and grouping its rows.

thirds = ["young", "middle", "old"]
(
    villages.assign(
        corrected=lambda frame: calibration.transform(frame["predicted"]),
        age_group=lambda frame: pd.qcut(frame["age"], 3, labels=thirds),
    )
    .groupby(["age_group", "treated"], observed=True)[["predicted", "corrected"]]
    .mean()
    .round(2)
)

# %%
# In a ``ColumnTransformer`` it corrects its own column and leaves the others alone:

wide = survey.assign(treated=0, age=0.0)
columns = make_column_transformer(
    (ck.LinearCalibration(), ["predicted"]),
    remainder="passthrough",
    verbose_feature_names_out=False,
).set_output(transform="pandas")
columns.fit(wide[["predicted", "treated", "age"]], wide["wealth"])
columns.transform(villages).head(3).round(3)

# %%
# A fitted correction is saved as readable text and plain arrays, and gives the same numbers in another process. Reading
# such a file runs no code.

before = calibration.transform(villages["predicted"])
with TemporaryDirectory() as folder:
    ck.save(calibration, f"{folder}/wealth_map_correction")
    again = ck.load(f"{folder}/wealth_map_correction")
print((again.transform(villages["predicted"]) == before).all())

# %%
# For an interval use ``effect``, ``mean`` or ``ols`` of the correction: a standard error computed from the corrected
# column alone leaves the calibration noise out, as step 2 showed.
