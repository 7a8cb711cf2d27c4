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
    print(
        "This page was made with the income map: 73 102 calibration rows, 18 275 trial rows, units of 10 000 dollars."
    )
    pool, trial = income.calibration.copy(), income.trial.copy()
    for part in (pool, trial):
        part["y"], part["prediction"] = part["income"] / 1e4, part["prediction"] / 1e4
    regions = {"north less south": trial["lat"], "east less west": trial["lon"]}
else:
    print("This page was made with the patients' map: 442 rows, split in half for calibration and trial in step 4.")
    patients = datasets.load_diabetes_map()
    pool = patients.frame.rename(columns={"progression": "y"})
    trial = pool[pool["test"] == 1]
    features = patients.features.loc[trial.index]
    regions = {"high less low body mass": features["bmi"], "older less younger": features["age"]}

# %%
# 1. A map and its two slopes
# ---------------------------
# Regress the prediction on the truth: the slope :math:`k` says how much of a difference in the truth the map shows.
# Regress the truth on the prediction: the slope :math:`b` is near 1 for any well-trained model. That is why a map can
# be well calibrated in the usual sense and still lose half of every effect. Their product is the squared correlation.

linear = ck.LinearCalibration().fit(pool["prediction"], pool["y"])
print(f"k = {linear.slope_:.3f}   b = {linear.berkson_slope_:.3f}   kb = squared correlation = {linear.r_squared_:.3f}")

# %%
# Left: the mean prediction at each level of the truth. Right: predictions are too high for low values and too low for
# high ones; after the correction this error is small. It is not zero where the points on the left bend away from the
# line.

plotting.CalibrationDisplay.from_estimator(linear, pool["prediction"], pool["y"])

# %%
# ``diagnostics`` puts both slopes beside tests of what the corrections assume.

linear.diagnostics().round(3)

# %%
# **A map too weak to correct.** Visits to a doctor, predicted from ten characteristics of 20 190 person-years (the RAND
# health insurance experiment, from statsmodels). It can be calibrated, but an effect on such a map is estimated as if
# 91 of 100 rows were thrown away, and whatever breaks the assumptions is multiplied by eleven.

from statsmodels.datasets import randhie

visits = randhie.load_pandas().data
log_visits = np.log1p(visits["mdvis"])
characteristics = visits.drop(columns="mdvis")
weak_map = cross_val_predict(LinearRegression(), characteristics, log_visits, cv=KFold(10))  # rows of a person adjoin
weak = ck.LinearCalibration().fit(weak_map, log_visits)
pd.Series(
    {
        "k": weak.slope_,
        "b": weak.berkson_slope_,
        "squared correlation = effective share of the rows": weak.r_squared_,
        "effects are multiplied by": 1 / weak.slope_,
        "calibration rows for 5 % noise": ck.required_calibration_size(weak.r_squared_),
    }
).round(3).to_frame("doctor visits")

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
    data = datasets.make_mixture_map(sigma=3.0, n_calibration=1000, n_arm=10_000, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, correction in corrections.items():
            correction.fit(data.calibration_predictions, data.calibration_y)
            effect = correction.effect(data.predictions, treatment=data.treatment)
            sampling_only = np.sqrt(effect.variance_parts["sampling"].iloc[0])
            records.append(
                {
                    "method": name,
                    "estimate": effect.estimate[0],
                    "covers": covers(effect, 2.0, effect.std_error[0]),
                    "covers without calibration noise": covers(effect, 2.0, sampling_only),
                }
            )
    advice.update({str(warning.message).split(" (")[0] for warning in caught})
    raw = effect.naive
    records.append({"method": "naive", "estimate": raw.estimate[0], "covers": covers(raw, 2.0, raw.std_error[0])})
table = pd.DataFrame(records).groupby("method", sort=False).mean().loc[["naive", *corrections]].astype(float)
table.insert(0, "limit", [truth.naive, truth.linear_calibration, truth.tweedie, truth.effect])
table.round(3)

# %%
# ``limit`` is the value for endless data (the spline's is 2 for a spline with many knots); the other columns are means
# over 100 samples of 1000 calibration rows and 20 000 trial rows. An interval that treats the correction as known is
# too short: the last column is what one gets by correcting first and running the usual software afterwards.
#
# What the estimators warned of on the way, and in how many of the 100 samples. A correction that falls somewhere is
# often a sign of too many knots. Here it is not: between the modes the exact correction falls too. The noise of this
# map is constant and normal, so a warning about it is the false alarm that a test gives now and then.

print("\n".join(f"{count} samples: {message}" for message, count in advice.most_common()) or "no warnings")

# %%
# The score that Tweedie's correction follows. A straight line would give the linear correction:

plotting.ScoreDisplay.from_estimator(corrections["Tweedie"])

# %%
# 3. The errors of real data
# --------------------------
# Arms are now drawn from a probability that depends on the true outcome alone (the poorest quarter, or the least
# ill, is treated with probability .7, others with .3). So the treatment moves the prediction only through the truth,
# while the errors of the map are the real ones. Each estimate is divided by the true contrast: 1 is right.

calibration_size, trial_size, repetitions = (2000, 5000, 40) if income is not None else (221, 221, 150)
contenders = {
    "LinearCalibration": ck.LinearCalibration(),
    "Tweedie, constant noise": ck.TweedieCorrection(n_knots=5),
    "Tweedie, noise varies": ck.TweedieCorrection(n_knots=5, noise="heteroscedastic"),
    "SplineCalibration": ck.SplineCalibration(),
}


def compete(draw, effect_size):
    """Mean ratio to the truth and coverage over draws of (calibration, trial) samples."""
    rows, said = [], set()
    for seed in range(repetitions):
        calibration_f, calibration_y, trial_f, treatment = draw(seed)
        for name, contender in contenders.items():
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                result = contender.fit(calibration_f, calibration_y).effect(trial_f, treatment=treatment)
            said |= {(name, str(w.message).split(" (")[0]) for w in seen if issubclass(w.category, CalibrationWarning)}
            hit = covers(result, effect_size, result.std_error[0])
            rows.append({"method": name, "ratio to truth": result.estimate[0] / effect_size, "covers": hit})
        rows.append({"method": "naive", "ratio to truth": result.naive.estimate[0] / effect_size})
    summary = pd.DataFrame(rows).groupby("method", sort=False)
    out = summary.mean().astype(float)
    out.insert(1, "its simulation error", summary["ratio to truth"].sem())
    return out.loc[["naive", *contenders]], sorted(said)


outcomes, predictions = pool["y"].to_numpy(), pool["prediction"].to_numpy()
tilted = datasets.tilt_arms(outcomes, design="poor", random_state=0)


def draw_real(seed):
    """Calibration rows and, apart from them, trial rows with arms that depend on the outcome."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(outcomes), calibration_size + trial_size, replace=False)
    first, second = chosen[:calibration_size], chosen[calibration_size:]
    arms = datasets.tilt_arms(outcomes[second], design="poor", population=outcomes, random_state=rng)
    return predictions[first], outcomes[first], predictions[second], arms.treatment


table, said = compete(draw_real, tilted.effect)
table.round(3)

# %%
# On the income map the naive contrast keeps half of the effect, and Tweedie's correction with constant noise overshoots
# by about a sixth: the map's errors grow with income, which it does not know. Letting the noise vary, or the spline,
# repairs it. On the 442 patients all corrections agree within the simulation error: with 221 calibration rows nothing
# finer than a line can be told from a line, and the advice is to use the line.
#
# The library sees the trouble in the calibration sample already:

print("\n".join(f"{name}: {message}" for name, message in said) or "no warnings")

# %%
# The same failure where it can be computed. The error variance of this simulated map rises with the prediction; the
# bias :math:`E[g(\hat Y) - Y \mid Y]` of each correction, exact but for the fit, should be zero along the whole axis.

data = datasets.make_heteroscedastic_map(n_calibration=20_000, random_state=0)
quantiles = [0.02, 0.1, 0.5, 0.9, 0.98]
points = np.quantile(data.calibration_y, quantiles)
bias = {"naive": datasets.heteroscedastic_map_bias(lambda u: u, points)}
for name, contender in contenders.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # the warning on residuals, shown above
        contender.fit(data.calibration_predictions, data.calibration_y)
    bias[name] = datasets.heteroscedastic_map_bias(contender.transform, points)
pd.DataFrame(bias, index=pd.Index(quantiles, name="at this quantile of Y")).T.round(3)

# %%
# 4. Where the assumption fails
# -----------------------------
# Every correction needs *exclusion*: given the true outcome, treatment does not move the prediction. The opposite is
# *surrogacy*: treatment moves the truth only through what the model sees, and then the naive contrast is right. Regions
# of a map, or patients sorted by a feature that the model uses, are "treatments" that the model sees by itself. Here
# the truth is known, so the two ends of the band can be compared with it.

if income is not None:
    known = linear
else:
    known = ck.LinearCalibration().fit(pool["prediction"][pool["test"] == 0], pool["y"][pool["test"] == 0])

rows, results = [], {}
for name, position in regions.items():
    treatment = (position > position.median()).to_numpy().astype(int)
    result = results[name] = known.effect(trial["prediction"], treatment=treatment)
    real = trial["y"][treatment == 1].mean() - trial["y"][treatment == 0].mean()
    low, high = sorted(result.band["estimate"].iloc[:2])
    rows.append((name, real, low, high, low <= real <= high))
    test = ck.exclusion_test(trial["prediction"], trial["y"], treatment=treatment)
    print(f"{name}: {test.attrs['reading']}")
columns = ["treatment", "truth", "band from", "band to", "band holds the truth"]
regional = pd.DataFrame(rows, columns=columns).set_index("treatment")
regional.round(2)

# %%
# The printed lines are what ``exclusion_test`` reads from labels that a trial would not have. The band runs from the
# naive to the linearly corrected contrast; "correcting" these contrasts would have been a mistake. The curve shows the
# effect for every mixture of the two assumptions, the green line is the truth. East less west on the income map shows
# that the truth need not lie inside.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for ax, (name, result) in zip(axes, results.items(), strict=True):
    plotting.BandDisplay.from_result(result, truth=regional.loc[name, "truth"], ax=ax)
    ax.set_title(name)

# %%
# ``assumption_robust`` is the interval that covers under every mixture:

pd.concat({name: result.assumption_robust() for name, result in results.items()}).round(2)

# %%
# 5. The regression table that you already have
# ---------------------------------------------
# A regression of predictions on treatment and age, by statsmodels. The true coefficients are 5, .7 and .5. The map
# keeps half of everything and adds 2.

rng = np.random.default_rng(7)
truth_c = rng.normal(5.5, 1.2, size=600)
survey = pd.DataFrame({"predicted": 2 + 0.5 * truth_c + 0.5 * rng.normal(size=600), "wealth": truth_c})
age = rng.normal(size=1500)
treated = (rng.normal(size=1500) + age > 0).astype(int)
wealth = 5 + 0.7 * treated + 0.5 * age + rng.normal(size=1500)  # never observed
villages = pd.DataFrame({"predicted": 2 + 0.5 * wealth + 0.5 * rng.normal(size=1500), "treated": treated, "age": age})

calibration = ck.LinearCalibration().fit(survey["predicted"], survey["wealth"])
raw_fit = smf.ols("predicted ~ treated + age", villages).fit(cov_type="HC1")
params, vcov = ck.correct_vcov(raw_fit, correction=calibration)
pd.DataFrame(
    {
        "truth": [5, 0.7, 0.5],
        "raw": raw_fit.params,
        "corrected": params,
        "SE": np.sqrt(np.diag(vcov)),
        "SE without calibration noise": raw_fit.bse / calibration.slope_,
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
    place = np.floor(pool["lat"]).astype(int).astype(str) + "N" + np.floor(-pool["lon"]).astype(int).astype(str) + "W"
    south, west = np.floor(pool["lat"] / 10) * 10, np.floor(-pool["lon"] / 10) * 10
    site = south.astype(int).map("{}N ".format) + west.astype(int).map("{}W".format)
    large = site.map(site.value_counts()) >= 500
else:
    age_fifth = pd.qcut(patients.features["age"], 5, labels=[f"age {fifth} of 5" for fifth in range(1, 6)]).astype(str)
    site = place = np.where(patients.features["sex"] > 0, "sex 1, ", "sex 2, ") + age_fifth
    large = pd.Series(True, index=pool.index)

clustered = ck.LinearCalibration().fit(pool["prediction"], pool["y"], groups=place)
by_level = {}
for variation in ("within", "between"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # ten groups of patients are few for a line between them
        by_level[variation] = ck.LinearCalibration(variation=variation).fit(pool["prediction"], pool["y"], groups=place)
pd.DataFrame(
    {
        "k": [linear.slope_, clustered.slope_] + [fit.slope_ for fit in by_level.values()],
        "standard error": [np.sqrt(fit.cov_[0, 0]) for fit in (linear, clustered, *by_level.values())],
    },
    index=["all rows, independent", "all rows, places as clusters", "within places", "between places"],
).round(4)

# %%
# A treatment given to whole places is measured by differences between places, one given inside them by differences
# within: the slope to divide by is the one at the level at which treatment varies (``variation=``).
#
# Slopes by site, alone and shrunk towards their mean. The shaded interval is for a site that nobody has calibrated.

sites = ck.HierarchicalCalibration().fit(pool["prediction"][large], pool["y"][large], sites=site[large])
plotting.SiteForestDisplay.from_estimator(sites)

# %%
# Transport: leave each site out, draw arms there as in step 3, and correct the contrast with the lines of the *other*
# sites. ``share from transport`` is the part of the variance that comes from not knowing the new site's own slope. (The
# warnings that are silenced here say just that, and that a site may reach beyond the range of the others.)

rows = []
for left_out in sites.sites_:
    here, others = (site == left_out) & large, (site != left_out) & large
    local = pool["y"][here].to_numpy()
    arms = datasets.tilt_arms(local, design="smooth", random_state=0)
    target = local[arms.treatment == 1].mean() - local[arms.treatment == 0].mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # new-site distribution used; some rows outside the others' range
        elsewhere = ck.HierarchicalCalibration().fit(pool["prediction"][others], pool["y"][others], sites=site[others])
        result = elsewhere.effect(pool["prediction"][here], treatment=arms.treatment, sites=site[here])
    interval = result.conf_int().iloc[0]
    parts = result.variance_parts.iloc[0]
    rows.append(
        {
            "site": left_out,
            "truth": target,
            "naive": result.naive.estimate[0],
            "corrected": result.estimate[0],
            "lower": interval["lower"],
            "upper": interval["upper"],
            "covers": interval["lower"] < target < interval["upper"],
            "share from transport": parts["transport"] / parts.sum(),
        }
    )
transported = pd.DataFrame(rows).set_index("site")
print(f"mean of naive / truth: {(transported['naive'] / transported['truth']).mean():.2f}")
print(f"mean of corrected / truth: {(transported['corrected'] / transported['truth']).mean():.2f}")
transported.round(2)

# %%
# Contrasts travel; levels do not. The intercept of a new site is unknown in the same way, and a *mean* there needs
# labels from there.

# %%
# 7. Labels in the trial
# ----------------------
# A random part of the trial has the truth too. Prediction-powered estimates then need no assumption on the map at all;
# the correction needs no labels there. Which is more precise depends on the labelled share: they meet at
# :math:`\rho^2/(1+\rho^2)` for an endless calibration sample, and earlier for a small one.

data = datasets.make_gaussian_map(k=0.5, tau=0.5, n_calibration=400, n_arm=2000, random_state=0)
share = ck.break_even_share(0.5, effect=0.5, n_arm=2000, n_calibration=400)
print(f"break-even share: {share:.2f} here, {ck.break_even_share(0.5):.2f} with endless calibration rows")

tables = {}
for labelled_share in (0.05, 0.6):
    labelled = np.random.default_rng(2).random(len(data.y)) < labelled_share
    tables[f"{labelled_share:.0%} labelled"] = ck.compare_corrections(
        data.predictions,
        treatment=data.treatment,
        calibration_predictions=data.calibration_predictions,
        calibration_y=data.calibration_y,
        y=np.where(labelled, data.y, np.nan),
    )
side_by_side = pd.concat(tables).droplevel("effect")
side_by_side[["estimate", "se", "lower", "upper", "assumption", "note"]].round(3)

# %%
# The true effect is .5. The naive interval misses it with the smallest standard error of all. Tweedie's correction
# finds that this map is Gaussian, where it *is* the linear one. What the labels buy besides precision is independence
# of exclusion: on a map where surrogacy holds instead, only the rows that do not rest on exclusion stay right (true
# effect .8).

shifted = datasets.make_surrogacy_map(k=0.6, tau=0.8, n_calibration=8000, n_arm=2000, random_state=3)
labelled = np.random.default_rng(4).random(len(shifted.y)) < 0.2
untreated = shifted.calibration_treatment == 0
ck.compare_corrections(
    shifted.predictions,
    treatment=shifted.treatment,
    calibration_predictions=shifted.calibration_predictions[untreated],
    calibration_y=shifted.calibration_y[untreated],
    y=np.where(labelled, shifted.y, np.nan),
).droplevel("effect")[["estimate", "se", "lower", "upper", "assumption"]].round(3)

# %%
# Where treatment is known in the calibration sample, the assumptions can be tested and a differential error removed:

tests = ck.exclusion_test(
    shifted.calibration_predictions, shifted.calibration_y, treatment=shifted.calibration_treatment
)
print(tests.attrs["reading"])
by_arm = ck.LinearCalibration(differential="shift").fit(
    shifted.calibration_predictions, shifted.calibration_y, treatment=shifted.calibration_treatment
)
by_arm.effect(shifted.predictions, treatment=shifted.treatment).summary().round(3)

# %%
# 8. In a pandas pipeline
# -----------------------
# A correction is a transformer of one column, so it fits between reading a file and grouping its rows.

corrected = ck.LinearCalibration().fit(survey["predicted"], survey["wealth"])
(
    villages.assign(
        corrected=lambda frame: corrected.transform(frame["predicted"]),
        age_group=lambda frame: pd.qcut(frame["age"], 3, labels=["young", "middle", "old"]),
    )
    .groupby(["age_group", "treated"], observed=True)[["predicted", "corrected"]]
    .mean()
    .round(2)
)

# %%
# In a ``ColumnTransformer`` it corrects its own column and leaves the others alone:

wide_survey = survey.assign(treated=0, age=0.0)
columns = make_column_transformer(
    (ck.LinearCalibration(), ["predicted"]), remainder="passthrough", verbose_feature_names_out=False
).set_output(transform="pandas")
columns.fit(wide_survey[["predicted", "treated", "age"]], wide_survey["wealth"])
columns.transform(villages).head(3).round(3)

# %%
# A fitted correction is saved as readable text and plain arrays, and gives the same numbers in another process. Reading
# such a file runs no code.

with TemporaryDirectory() as folder:
    ck.save(corrected, f"{folder}/wealth_map_correction")
    again = ck.load(f"{folder}/wealth_map_correction")
print((again.transform(villages["predicted"]) == corrected.transform(villages["predicted"])).all())

# %%
# For an interval use ``effect``, ``mean`` or ``ols`` of the correction: a standard error computed from the corrected
# column alone leaves the calibration noise out, as step 2 showed.
