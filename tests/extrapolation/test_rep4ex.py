"""Rep4Ex and LinearInvarianceEncoder: oracle curves, intervals and their labels, symmetries, containers, files."""

from __future__ import annotations

import pickle
import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.preprocessing import FunctionTransformer

from causalkit import load, save
from causalkit.datasets import make_intervention_curve
from causalkit.exceptions import ExtrapolationWarning, MethodNotApplicableError
from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex, SplineControlFunction, rep4ex_fit
from causalkit.extrapolation.selection import clearly_better

pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.ExtrapolationWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning"),
]

SAMPLE = make_intervention_curve(1200, strength=1.5, random_state=3)
GRID = np.array([[-1.25], [0.0], [0.5], [1.25]])
GROUPS = np.arange(1200) // 4
UNSHUFFLED = KFold(2)


def oracle(**options) -> Rep4Ex:
    return Rep4Ex(**{"encoder": FunctionTransformer(), "calibration": 0.0, "random_state": 0, **options})


def fit(model: Rep4Ex, features=SAMPLE.latent, rows=slice(None), **extra) -> Rep4Ex:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        return model.fit(SAMPLE.actions[rows], SAMPLE.y[rows], features=features[rows], **extra)


@pytest.fixture(scope="module", autouse=True)
def no_network_in_the_table():
    """The network is one row of the table of losses, and takes most of the time of a fit on few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rep4ex_fit, "find_spec", lambda name: None)
        yield


@pytest.fixture(scope="module")
def known() -> Rep4Ex:
    return fit(oracle())


@pytest.fixture(scope="module")
def crossed() -> Rep4Ex:
    return fit(oracle(cv=2, n_repeats=2))


@pytest.fixture(scope="module")
def learnt() -> Rep4Ex:
    encoder = LinearInvarianceEncoder(n_components=1, n_basis=30, ridge=1e-2)
    return fit(Rep4Ex(encoder=encoder, calibration=0.0, random_state=0), SAMPLE.features)


# ---------------------------------------------------------------------- curves


def test_curve_is_the_formula_on_what_is_stored(known: Rep4Ex) -> None:
    stage, phi = known.outcome_model_, known.representation_
    design = np.column_stack([np.ones(1200), SAMPLE.actions])
    slope = np.linalg.lstsq(design, phi, rcond=None)[0][1:].T
    expected = [
        np.mean(stage.structural(phi + (a - SAMPLE.actions) @ slope.T) - stage.structural(phi) + SAMPLE.y) for a in GRID
    ]
    assert_allclose(known.predict(GRID), expected, rtol=1e-9)
    assert_allclose(known.residual_, phi - design @ np.linalg.lstsq(design, phi, rcond=None)[0], atol=1e-9)
    assert_allclose(known.outcome_mean_, SAMPLE.y.mean())


def test_oracle_is_near_the_truth(known: Rep4Ex) -> None:
    error = known.predict(GRID) - SAMPLE.do_mean(GRID)
    assert np.abs(error).max() < 4 * known.inference(GRID).std_error.max() < 0.8


def test_prediction_given_features_is_the_structural_mean_and_not_the_regression() -> None:
    sample = make_intervention_curve(6000, random_state=0)
    model = oracle()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        model.fit(sample.actions, sample.y, features=sample.latent)
    rng = np.random.default_rng(1)
    actions, noise = rng.uniform(-1, 1, (400, 1)), np.clip(rng.normal(size=(400, 1)), -2, 2)
    z = actions + noise
    truth = (z + 1.5 * np.sin(1.2 * z) + 1.5 * noise)[:, 0]
    found = model.predict_given_features(actions, features=z)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.15
    # the same unit under another action: only what the action says about the noise changes
    shifted = model.predict_given_features(actions + 0.5, features=z)
    assert_allclose(shifted - found, -0.75, atol=0.2)
    one = model.predict_given_features([[0.5]], features=z)
    assert_array_equal(one, model.predict_given_features(np.full((400, 1), 0.5), features=z))


def test_parts_of_a_cross_fit_are_averaged_by_their_rows(crossed: Rep4Ex) -> None:
    assert len(crossed.encoder_) == len(crossed.outcome_model_) == 4
    total = sum(len(part.phi) for part in crossed._parts)
    expected = sum(len(part.phi) / total * part.do_mean(GRID) for part in crossed._parts)
    assert_allclose(crossed.predict(GRID), expected)


@pytest.mark.parametrize("method", ["influence", "bootstrap"])
def test_intervals_are_centred_on_the_curve_with_and_without_repetitions(
    known: Rep4Ex, crossed: Rep4Ex, method: str
) -> None:
    errors = []
    for model in (known, crossed):
        found = model.inference(GRID, method=method, n_bootstrap=30)
        assert_allclose(found.estimate, model.predict(GRID), rtol=1e-9)
        errors.append(found.std_error)
    # the same rows carry both, so that the errors are about alike
    assert_allclose(errors[1], errors[0], rtol=0.5)


def test_curve_is_one_for_a_splitter_and_for_its_number() -> None:
    splitter = fit(oracle(cv=KFold(3, shuffle=True, random_state=1)))
    assert len(splitter.encoder_) == 3
    assert_allclose(splitter.predict(GRID), fit(oracle()).predict(GRID), atol=0.35)


# ---------------------------------------------------------------------- intervals


def test_labels_say_what_is_included(known: Rep4Ex, learnt: Rep4Ex) -> None:
    given, bias = "given the learnt representation; encoder error not included", "not affine is not covered"
    for method in ("influence", "bootstrap"):
        found = known.inference(GRID, method=method, n_bootstrap=20)
        assert given in found.dependence
        assert bias in found.dependence
        assert found.summary()["support"].tolist() == known.support(GRID)["flag"].tolist()
    ensemble = learnt.inference(GRID, method="ensemble", n_bootstrap=20, n_encoders=2)
    assert "includes encoder variability" in ensemble.dependence
    assert bias in ensemble.dependence
    assert given not in ensemble.dependence
    assert list(ensemble.parts.columns) == ["encoder", "second_stage"]
    assert (ensemble.parts.to_numpy() >= 0).all()
    flat = ensemble.curves.reshape(-1, len(GRID))
    assert_allclose(ensemble.conf_int(0.8).to_numpy().T, np.quantile(flat, [0.1, 0.9], axis=0))


def test_influence_and_bootstrap_agree(known: Rep4Ex) -> None:
    influence = known.inference(GRID).std_error
    bootstrap = known.inference(GRID, method="bootstrap", n_bootstrap=150).std_error
    assert_allclose(bootstrap, influence, rtol=0.25)


def test_clusters_enter_the_interval() -> None:
    rows = np.repeat(np.arange(300), 4)
    smooth = {"outcome_model": SplineControlFunction(smoothing=1e-2)}
    clustered = fit(oracle(**smooth), rows=rows, groups=np.arange(1200) // 4).inference(GRID)
    plain = fit(oracle(**smooth), rows=rows).inference(GRID)
    single = fit(oracle(**smooth), rows=np.arange(300)).inference(GRID)
    # four copies of each row carry no more than the row: clusters know it, independent rows do not
    assert_allclose(clustered.std_error, single.std_error, rtol=0.25)
    assert_allclose(plain.std_error * 2, clustered.std_error, rtol=0.05)


def test_level_of_an_interval_whose_end_is_the_null_is_one_minus_the_pvalue(known: Rep4Ex) -> None:
    found = known.inference(GRID)
    ends = found.conf_int(0.9)
    for column in ("lower", "upper"):
        for position, name in enumerate(found.names):
            pvalue = found.pvalue(float(ends[column].iloc[position]))[name]
            assert_allclose(pvalue, 0.1, rtol=1e-6)


def test_contrast_of_actions_uses_their_covariance(known: Rep4Ex) -> None:
    found = known.inference(GRID)
    row = np.array([[0.0, -1.0, 1.0, 0.0]])
    contrast = found.contrast(row)
    assert_allclose(contrast.estimate, found.estimate[2] - found.estimate[1])
    values = found.influence_values[:, 2] - found.influence_values[:, 1]
    assert_allclose(contrast.std_error, np.sqrt((values**2).sum()) / 1200, rtol=0.01)
    joint, single = found.conf_int(joint=True), found.conf_int()
    assert (joint["lower"] < single["lower"]).all()


# ---------------------------------------------------------------------- symmetries


def test_order_of_rows_does_not_matter(known: Rep4Ex, learnt: Rep4Ex) -> None:
    order = np.random.default_rng(0).permutation(1000)
    for features, model in ((SAMPLE.latent, known), (SAMPLE.features, learnt)):
        first = fit(clone(model), features, rows=np.arange(1000))
        second = fit(clone(model), features, rows=order)
        assert_allclose(second.predict(GRID), first.predict(GRID), atol=1e-5)
        assert_allclose(second.representation_, first.representation_[order], atol=1e-5)


def test_order_of_action_columns_does_not_matter() -> None:
    sample = make_intervention_curve(400, n_latent=2, random_state=1)
    wanted = np.array([[0.5, -0.5], [1.2, 0.3]])
    pair = []
    for columns in ([0, 1], [1, 0]):
        model = oracle()
        model.fit(sample.actions[:, columns], sample.y, features=sample.latent)
        pair.append((model.predict(wanted[:, columns]), model.inference(wanted[:, columns]).std_error))
    assert_allclose(pair[1][0], pair[0][0], rtol=1e-7)
    assert_allclose(pair[1][1], pair[0][1], rtol=1e-6)


def test_curve_is_unchanged_by_affine_maps_of_representation_and_of_actions(known: Rep4Ex) -> None:
    turned = fit(oracle(), -2.5 * SAMPLE.latent + 7)
    assert_allclose(turned.predict(GRID), known.predict(GRID), atol=2e-3)
    model = oracle()
    model.fit(100 * SAMPLE.actions + 5, SAMPLE.y, features=SAMPLE.latent)
    assert_allclose(model.predict(100 * GRID + 5), known.predict(GRID), atol=1e-6)
    assert_allclose(model.support(100 * GRID + 5)["ess"], known.support(GRID)["ess"], rtol=1e-6)


def test_equal_weights_are_no_weights_and_outcomes_scale(known: Rep4Ex) -> None:
    weighted = fit(oracle(), sample_weight=np.full(1200, 2.0))
    assert_allclose(weighted.predict(GRID), known.predict(GRID), rtol=1e-7)
    scaled = oracle()
    scaled.fit(SAMPLE.actions, 10 * SAMPLE.y + 3, features=SAMPLE.latent)
    assert_allclose(scaled.predict(GRID), 10 * known.predict(GRID) + 3, rtol=1e-6)


def test_null_outcome_gives_a_flat_curve() -> None:
    sample = make_intervention_curve(1500, null=True, random_state=2)
    model = oracle()
    model.fit(sample.actions, sample.y, features=sample.latent)
    found = model.inference(GRID)
    assert (np.abs(found.estimate) < 4 * found.std_error).all()
    assert np.abs(found.estimate).max() < 0.4


# ---------------------------------------------------------------------- what fit says


def test_diagnostics_summary_and_baselines(learnt: Rep4Ex) -> None:
    found = learnt.diagnostics()
    assert found is learnt.diagnostics_
    assert isinstance(found.ok, bool)
    losses = found.shell["shell_loss"]
    assert {"Rep4Ex", "linear regression of y on actions"} <= set(losses.index)
    assert losses.is_monotonic_increasing
    text = repr(learnt.summary())
    assert "Linear action" in text
    assert "Rep4Ex: 1200 rows, 1 actions" in text
    table = learnt.baselines(GRID, names=("flexible", "linear"))
    assert list(table) == ["Rep4Ex", "flexible", "linear"]  # in the order asked for
    assert_array_equal(table["Rep4Ex"], learnt.predict(GRID))
    slope, level = np.polyfit(SAMPLE.actions[:, 0], SAMPLE.y, 1)
    assert_allclose(table["linear"], level + slope * GRID[:, 0], rtol=1e-9)
    error = SAMPLE.y - learnt.predict(SAMPLE.actions)
    assert_allclose(learnt.score(SAMPLE.actions, SAMPLE.y), 1 - (error**2).mean() / SAMPLE.y.var())


def test_encoder_reports_what_it_found(learnt: Rep4Ex) -> None:
    encoder = learnt.encoder_
    phi = encoder.transform(SAMPLE.features)
    assert_allclose(phi, learnt.representation_)
    assert_allclose(phi.std(axis=0), 1, atol=1e-9)
    rho = np.corrcoef(phi[:, 0], SAMPLE.actions[:, 0])[0, 1]
    assert_allclose(encoder.canonical_correlations_, [rho], rtol=1e-9)
    slope, level = np.polyfit(SAMPLE.actions[:, 0], phi[:, 0], 1)
    assert_allclose([encoder.action_matrix_[0, 0], encoder.intercept_[0]], [slope, level], atol=1e-9)
    assert "deviations in the other directions" in repr(encoder.diagnostics())
    outside = encoder.invariance_test(SAMPLE.features, actions=SAMPLE.actions, n_bootstrap=39)
    assert not outside.held_out
    assert encoder.invariance_test().held_out
    assert "no evidence" in repr(outside)


def test_tuning_is_chosen_by_the_outcome_when_it_is_open() -> None:
    encoder = LinearInvarianceEncoder(n_components=1, n_basis=20)
    model = fit(Rep4Ex(encoder=encoder, random_state=0), SAMPLE.features, rows=np.arange(500))
    path = model.path_
    assert sorted(set(path["penalty"])) == [1e-5, 1e-4, 1e-3, 1e-2]
    assert sorted(set(path["calibration"])) == [0.0, 30.0]
    best = int(path["chosen"].idxmax())
    total = path["c_in"] + path["shell_loss"]
    reference = int(path.index[(path["penalty"] == 1e-3) & (path["calibration"] == 0)][0])
    assert path["chosen"].sum() == 1
    assert best == reference or total[best] < total[reference]
    assert model.encoder_.ridge_ == path["penalty"][best]
    assert model.calibration_ == path["calibration"][best]


def test_another_tuning_needs_two_standard_errors() -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(400)
    noise = (noise - noise.mean()) / noise.std()
    shell = np.vstack([np.full(400, 5.0), 5.0 - 0.09 + noise, 5.0 - 0.11 + noise, 5.0 + noise])
    inside = np.ones((4, 50))
    # The standard error of each difference is 1/20: .09 is within two of them, .11 is not.
    assert clearly_better(inside, shell, 0) == 2
    assert clearly_better(inside[:2], shell[:2], 0) == 0
    # Both losses count: .02 from inside, without noise, lifts .09 to .11.
    inside[1] -= 0.02
    assert clearly_better(inside[:2], shell[:2], 0) == 1


def test_fixed_calibration_is_used_for_the_reported_shell_too() -> None:
    plain, weighted = (fit(oracle(calibration=value), rows=np.arange(400)) for value in (0.0, 300.0))
    assert weighted.calibration_ == 300.0
    pair = [model.diagnostics_.shell.loc["Rep4Ex", "shell_loss"] for model in (plain, weighted)]
    assert pair[0] != pair[1]


# ---------------------------------------------------------------------- containers and files


def test_frames_are_matched_by_name_and_polars_is_pandas() -> None:
    sample = make_intervention_curve(300, n_latent=2, random_state=1)
    actions = pd.DataFrame(sample.actions, columns=["dose", "heat"])
    features = pd.DataFrame(sample.latent, columns=["first", "second"])
    model = oracle()
    model.fit(actions, sample.y, features=features)
    wanted, units = actions[:5], features[:5]
    curve, given = model.predict(wanted), model.predict_given_features(wanted, features=units)
    assert list(model.feature_names_in_) == model.action_names_ == ["dose", "heat"]
    other = oracle()
    other.fit(pl.from_pandas(actions), pl.Series(sample.y), features=pl.from_pandas(features))
    for fitted in (model, other):
        for swapped in (wanted[["heat", "dose"]], pl.from_pandas(wanted[["heat", "dose"]])):
            assert_array_equal(fitted.predict(swapped), curve)
        for swapped in (units[["second", "first"]], pl.from_pandas(units[["second", "first"]])):
            assert_array_equal(fitted.predict_given_features(wanted, features=swapped), given)
        assert_array_equal(fitted.predict(wanted.to_numpy()), curve)
    with pytest.raises(ValueError, match=r"feature names should match.*no column \['heat'\]"):
        model.predict(wanted.rename(columns={"heat": "cold"}))
    with pytest.raises(ValueError, match=r"features has no column \['first'\]"):
        model.predict_given_features(wanted, features=units.rename(columns={"first": "third"}))
    numbered = oracle()
    numbered.fit(pd.DataFrame(sample.actions), sample.y, features=sample.latent)
    assert_array_equal(numbered.predict(pd.DataFrame(sample.actions[:5])), curve)
    assert not hasattr(numbered, "feature_names_in_")


def test_saved_and_pickled_models_compute_the_same(known: Rep4Ex, crossed: Rep4Ex, learnt: Rep4Ex, tmp_path) -> None:
    for number, (model, features) in enumerate(
        ((known, SAMPLE.latent), (crossed, SAMPLE.latent), (learnt, SAMPLE.features))
    ):
        path = tmp_path / str(number)
        save(model, path)
        for again in (load(path), pickle.loads(pickle.dumps(model))):
            assert_array_equal(again.predict(GRID), model.predict(GRID))
            assert_array_equal(
                again.predict_given_features(GRID, features=features[:4]),
                model.predict_given_features(GRID, features=features[:4]),
            )
            pd.testing.assert_frame_equal(again.support(GRID), model.support(GRID))
            assert repr(again.diagnostics()) == repr(model.diagnostics())
    loaded = load(tmp_path / "2")
    assert_array_equal(loaded.encoder_.transform(SAMPLE.features), learnt.encoder_.transform(SAMPLE.features))
    with pytest.raises(MethodNotApplicableError, match="outcomes and features of the fit"):
        loaded.inference(GRID)
    with pytest.raises(MethodNotApplicableError, match="pass X and actions"):
        loaded.encoder_.invariance_test()
    test = loaded.encoder_.invariance_test(SAMPLE.features, actions=SAMPLE.actions, n_bootstrap=39)
    assert (
        test.pvalue == learnt.encoder_.invariance_test(SAMPLE.features, actions=SAMPLE.actions, n_bootstrap=39).pvalue
    )


def test_fits_repeat_and_the_seed_matters_for_the_basis(learnt: Rep4Ex) -> None:
    again = fit(clone(learnt), SAMPLE.features)
    assert_array_equal(again.predict(GRID), learnt.predict(GRID))
    other = fit(clone(learnt).set_params(random_state=1), SAMPLE.features)
    assert not np.array_equal(other.predict(GRID), learnt.predict(GRID))


def test_second_stage_of_the_user_is_used() -> None:
    model = fit(oracle(outcome_model=SplineControlFunction(n_knots=4, smoothing=1e-2)), rows=np.arange(400))
    assert model.outcome_model_.smoothing_ == (1e-2, 1e-2)
    assert model.outcome_model_.fit_.structural.knots.shape == (1, 4)


def bent_doses(a: np.ndarray) -> np.ndarray:
    return np.hstack([a, np.sin(2 * a)])


def test_functions_of_the_actions_are_put_back_after_loading(tmp_path) -> None:
    encoder = LinearInvarianceEncoder(n_components=1, n_basis=20, ridge=1e-2, action_features=lambda a: a + a**3)
    model = fit(Rep4Ex(encoder=encoder, calibration=0.0, random_state=0), SAMPLE.features, rows=np.arange(500))
    save(model, tmp_path / "curve")
    bare = load(tmp_path / "curve")
    message = "action_features is missing: functions and modules are code.*attach_action_features"
    for ask in (bare.predict, bare.support, lambda a: bare.encoder_.invariance_test(SAMPLE.features, actions=a)):
        with pytest.raises(MethodNotApplicableError, match=message):
            ask(SAMPLE.actions)
    with pytest.raises(MethodNotApplicableError, match=message):  # a fit again would need it, too
        fit(bare, SAMPLE.features, rows=np.arange(500))
    again = Rep4Ex.load(tmp_path / "curve", action_features=encoder.action_features)
    assert_array_equal(again.predict(GRID), model.predict(GRID))
    pd.testing.assert_frame_equal(again.support(GRID), model.support(GRID))
    asked = [
        m.encoder_.invariance_test(SAMPLE.features, actions=SAMPLE.actions, n_bootstrap=39) for m in (model, again)
    ]
    assert asked[0].pvalue == asked[1].pvalue
    assert again.encoder.action_features is again.encoder_.action_features is encoder.action_features
    assert_array_equal(bare.attach_action_features(encoder.action_features).predict(GRID), model.predict(GRID))
    with pytest.raises(ValueError, match="action_features returned 2 columns, expected 1 as in fit"):
        bare.attach_action_features(bent_doses).predict(GRID)
    save(again, tmp_path / "again")
    assert_array_equal(
        Rep4Ex.load(tmp_path / "again", action_features=encoder.action_features).predict(GRID), model.predict(GRID)
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_modules_are_put_back_after_loading(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    options = {"max_steps": 20, "penalty": 0.0, "batch_size": 100, "device": "cpu", "n_components": 1}
    encoder = LinearInvarianceEncoder(method="autoencoder", encoder_module=torch.nn.Linear(10, 1), **options)
    model = fit(Rep4Ex(encoder=encoder, calibration=0.0, random_state=0), SAMPLE.features, rows=np.arange(300))
    save(model, tmp_path / "curve")
    bare = load(tmp_path / "curve")
    assert_array_equal(bare.predict(GRID), model.predict(GRID))  # needs no network
    with pytest.raises(ValueError, match="encoder_module is missing"):
        bare.predict_given_features(GRID, features=SAMPLE.features[:4])
    again = Rep4Ex.load(tmp_path / "curve", encoder_module=torch.nn.Linear(10, 1))
    asked = [m.predict_given_features(GRID, features=SAMPLE.features[:4]) for m in (model, again)]
    assert_array_equal(*asked)


# ---------------------------------------------------------------------- how often encoders are fitted


class Counted(FunctionTransformer):
    """An identity that writes down the rows of its fits."""

    seen: ClassVar[list[bytes]] = []

    def fit(self, X, y=None):
        self.seen.append(X.tobytes())
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("options", "fits"), [({}, 4), ({"calibration": 0.0}, 3), ({"cv": UNSHUFFLED, "n_repeats": 2}, 5)]
)
def test_no_encoder_is_trained_twice_on_the_same_rows(options: dict, fits: int) -> None:
    """Choosing takes two fits (not with a given calibration), the report one, the curve one per part."""
    Counted.seen.clear()
    model = fit(Rep4Ex(**{"encoder": Counted(), "random_state": 0, **options}), rows=np.arange(400))
    assert len(Counted.seen) == len(set(Counted.seen)) == fits
    if "cv" in options:  # the second repetition has the parts of the first
        assert len(model.encoder_) == 4
        assert model.encoder_[0] is model.encoder_[2]


def test_actions_of_the_fit_are_shown_but_not_lent_or_saved(known: Rep4Ex, tmp_path) -> None:
    shown = known.observed_actions_
    assert_array_equal(shown, SAMPLE.actions)
    shown[:] = 0.0
    assert_array_equal(known.observed_actions_, SAMPLE.actions)
    save(known, tmp_path / "curve")
    assert not hasattr(load(tmp_path / "curve"), "observed_actions_")
