"""Every bad input has its named error or warning, and the message says what was expected, what came and what to do."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import FunctionTransformer

from causalkit import save
from causalkit.datasets import make_intervention_curve
from causalkit.exceptions import (
    ExtrapolationWarning,
    IdentificationError,
    MethodNotApplicableError,
    MissingDependencyError,
    PersistenceError,
    UnsupportedActionError,
    WeakInstrumentWarning,
)
from causalkit.extrapolation import (
    LinearInvarianceEncoder,
    NeuralControlFunction,
    Rep4Ex,
    SplineControlFunction,
    rep4ex_fit,
)

SAMPLE = make_intervention_curve(400, n_latent=2, strength=2.0, random_state=0)
ACTIONS, FEATURES, LATENT, Y = SAMPLE.actions, SAMPLE.features, SAMPLE.latent, SAMPLE.y
QUICK = {"n_basis": 10, "ridge": 1e-2, "n_components": 2, "random_state": 0}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def no_network_in_the_table():
    """The network is one row of the table of losses, and takes most of the time of a fit on few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rep4ex_fit, "find_spec", lambda name: None)
        yield


def encoder(**options) -> LinearInvarianceEncoder:
    return LinearInvarianceEncoder(**(QUICK | options))


def curve(**options) -> Rep4Ex:
    return Rep4Ex(**{"encoder": FunctionTransformer(), "calibration": 0.0, "random_state": 0, **options})


def both(actions=ACTIONS, features=FEATURES, **extra):
    """Fits of both estimators on the same input."""
    return [
        lambda: encoder().fit(features, actions=actions, **extra),
        lambda: curve().fit(actions, Y, features=features, **extra),
    ]


# ---------------------------------------------------------------------- actions


def one_hot(arms: int) -> np.ndarray:
    return np.eye(arms)[np.arange(400) % arms]


@pytest.mark.parametrize(
    ("actions", "distinct"),
    [(one_hot(3), 3), (one_hot(3)[:, :2], 3), (np.arange(400)[:, None] % 2.0, 2)],
)
def test_arms_identify_nothing(actions: np.ndarray, distinct: int) -> None:
    for fit in both(actions):
        with pytest.raises(
            IdentificationError, match=f"actions has {distinct} distinct rows.*every encoder.*contrasts"
        ):
            fit()


def test_constant_and_collinear_actions_are_named() -> None:
    constant = pd.DataFrame({"dose": ACTIONS[:, 0], "site": 1.0})
    collinear = pd.DataFrame({"dose": ACTIONS[:, 0], "heat": ACTIONS[:, 1], "twice": 2 * ACTIONS[:, 0]})
    for fit in both(constant):
        with pytest.raises(IdentificationError, match=r"constant columns \['site'\].*singular value 0.*Drop"):
            fit()
    for fit in both(collinear):
        with pytest.raises(
            IdentificationError, match=r"collinear columns \['dose', 'twice'\].*singular value.*drop one"
        ):
            fit()


def test_lattices_are_warned_of_once_and_at_the_caller() -> None:
    levels = np.column_stack([RNG.integers(0, 3, 400), ACTIONS[:, 1]]).astype(float)
    latent = levels @ SAMPLE.action_matrix.T + SAMPLE.noise
    for fit in (
        lambda: encoder().fit(latent, actions=levels),
        lambda: curve(encoder=encoder(basis="identity")).fit(levels, Y, features=latent),
    ):
        with pytest.warns(
            ExtrapolationWarning, match=r"lattice in .*\(3 levels\).*points of the lattice only"
        ) as caught:
            fit()
        found = [w for w in caught if "lattice" in str(w.message)]
        assert len(found) == 1
        assert found[0].filename == __file__


def test_tables_that_do_not_fit() -> None:
    for fit in both(ACTIONS[:, 0]):
        with pytest.raises(ValueError, match=r"actions is one-dimensional.*reshape\(-1, 1\)"):
            fit()
    for fit in both(ACTIONS[:300]):
        with pytest.raises(ValueError, match=r"rows.*300|300.*rows"):
            fit()
    for fit in both(ACTIONS[:40], FEATURES[:40]):
        with pytest.raises(ValueError, match=r"actions has 40 rows: expected at least 50.*lower cv"):
            fit()
    with pytest.raises(ValueError, match="actions is missing"):
        encoder().fit(FEATURES)
    with pytest.raises(ValueError, match="features is missing"):
        curve().fit(ACTIONS, Y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        curve().fit(ACTIONS, features=LATENT)
    with pytest.raises(ValueError, match=r"y has 300 .*actions has 400|y .*300.*400"):
        curve().fit(ACTIONS, Y[:300], features=LATENT)
    for name in ("sample_weight", "groups"):
        for fit in both(**{name: np.ones(10)}):
            with pytest.raises(ValueError, match=rf"{name}.*(10.*400|400.*10)"):
                fit()


def test_values_that_are_not_finite_numbers() -> None:
    bad = ACTIONS.copy()
    bad[3, 1] = np.nan
    for fit in both(bad):
        with pytest.raises(ValueError, match=r"actions contains NaN or infinity in 1.*3"):
            fit()
    holes = FEATURES.copy()
    holes[7, 0] = np.inf
    for fit in both(ACTIONS, holes):
        with pytest.raises(ValueError, match=r"features contains NaN or infinity in 1.*\[7\]"):
            fit()
    with pytest.raises(ValueError, match="y contains NaN or infinity in 1"):
        curve().fit(ACTIONS, np.where(np.arange(400) == 5, np.nan, Y), features=LATENT)
    words = pd.DataFrame({"dose": ACTIONS[:, 0], "arm": np.array(["a", "b"], dtype=object)[np.arange(400) % 2]})
    for fit in both(words):
        with pytest.raises(TypeError, match=r"arm.*Categories become columns"):
            fit()


# ---------------------------------------------------------------------- features and dimension


def test_features_that_tell_nothing() -> None:
    with pytest.raises(ValueError, match="all 3 columns are constant"):
        encoder().fit(np.ones((400, 3)), actions=ACTIONS)
    padded = encoder().fit(np.column_stack([FEATURES, np.ones((400, 2))]), actions=ACTIONS)
    assert "2 constant features are left out" in repr(padded.summary())
    for fit in both(ACTIONS, FEATURES.reshape(400, 5, 2))[:1]:
        with pytest.raises(ValueError, match=r"features has shape \(400, 5, 2\).*encoder_module"):
            fit()


def test_more_components_than_the_actions_can_move() -> None:
    with pytest.raises(ValueError, match=r"n_components=3 is more than 2 actions \(rank 2\) or 10 features.*at most 2"):
        encoder(n_components=3).fit(FEATURES, actions=ACTIONS)
    with pytest.raises(ValueError, match=r"n_components=2 is more than 2 actions.* or 1 features"):
        encoder().fit(FEATURES[:, :1], actions=ACTIONS)


def test_actions_that_move_one_direction_or_none() -> None:
    noise = RNG.normal(size=(400, 4))
    with pytest.raises(IdentificationError, match=r"largest canonical correlation on held-out rows.*p = "):
        encoder(n_components="auto").fit(noise, actions=ACTIONS)
    one = np.column_stack([3 * ACTIONS[:, 0] + noise[:, 0], noise[:, 1:]])
    for fit in (
        lambda: encoder(basis="identity").fit(one, actions=ACTIONS),
        lambda: curve(encoder=encoder(basis="identity")).fit(ACTIONS, Y, features=one),
    ):
        with pytest.warns(
            WeakInstrumentWarning, match=r"direction 2 is hardly moved.*p = .*Lower n_components to 1"
        ) as caught:
            fit()
        found = [w for w in caught if w.category is WeakInstrumentWarning]
        assert len(found) == 1
        assert found[0].filename == __file__
    assert encoder(n_components="auto").fit(one, actions=ACTIONS).n_components_ == 1


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pca"}, "method must be one of 'sieve'"),
        ({"basis": "wavelet"}, "basis must be one of 'tanh'"),
        ({"basis": 3}, "basis must be one of .* or a transformer; got 3"),
        ({"ridge": -1.0}, 'ridge must be "auto" or a number of at least 0; got -1'),
        ({"penalty": -1.0}, 'penalty must be "auto" or a number of at least 0; got -1'),
        ({"prior_weight": -1.0}, "prior_weight must be"),
        ({"n_random_features": 7}, "n_random_features must be even.*got 7"),
        ({"moment_weighting": "best"}, "moment_weighting must be one of"),
        ({"bandwidth": -1.0}, "bandwidth must be .*got -1"),
        ({"n_basis": 0}, "n_basis must be an integer at least 1; got 0"),
        ({"selection_cv": 1}, "selection_cv must be an integer at least 2; got 1"),
        ({"initial": "pca"}, "initial must be one of"),
        ({"n_components": 0}, "n_components must be an integer at least 1; got 0"),
    ],
)
def test_parameters_of_the_encoder(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(**options).fit(FEATURES, actions=ACTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_unsupported": "ignore"}, "on_unsupported must be one of 'warn', 'raise'"),
        ({"calibration": -1.0}, 'calibration must be "auto" or a number of at least 0; got -1'),
        ({"n_repeats": 0}, "n_repeats must be an integer at least 1; got 0"),
        ({"cv": 20}, "cv=20 leaves a part of 20 of 400 rows: at least 50 are needed. Lower cv"),
        ({"encoder": FunctionTransformer(lambda x: x[:10])}, r"encoder.transform returned shape \(10, 2\), expected"),
        ({"encoder": FunctionTransformer(lambda x: x / 0.0)}, "encoder.transform returned NaN or infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_parameters_of_the_curve(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curve(**options).fit(ACTIONS, Y, features=LATENT)


def test_action_features_that_change_the_rows_or_cannot_be_saved(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"action_features returned shape \(200, 2\), expected \(400, k'\)"):
        encoder(action_features=lambda a: a[::2]).fit(FEATURES, actions=ACTIONS)
    save(encoder().fit(FEATURES, actions=ACTIONS), tmp_path / "plain")
    with pytest.raises(ValueError, match="action_features was None in fit"):
        LinearInvarianceEncoder.load(tmp_path / "plain", action_features=np.sin)
    with pytest.raises(ValueError, match=r"path must be a file of a Rep4Ex; .* holds a LinearInvarianceEncoder"):
        Rep4Ex.load(tmp_path / "plain")
    with pytest.raises(AttributeError, match="attach_modules belongs to networks"):
        LinearInvarianceEncoder.load(tmp_path / "plain", encoder_module="a module")
    with pytest.raises(ValueError, match="action_features must be callable; got str"):
        LinearInvarianceEncoder.load(tmp_path / "plain").attach_action_features("sin")
    # A function anywhere else has no place that it could be put back to.
    inside = encoder(basis=FunctionTransformer(lambda x: x)).fit(FEATURES, actions=ACTIONS)
    with pytest.raises(PersistenceError, match=r"a callable .*code is never stored: set it to None before saving"):
        save(inside, tmp_path / "inside")


# ---------------------------------------------------------------------- curves


@pytest.fixture(scope="module")
def line() -> Rep4Ex:
    """One action, oracle coordinates, actions that reach not far."""
    sample = make_intervention_curve(1500, strength=2.0, random_state=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rep4ex_fit, "find_spec", lambda name: None)
        return curve().fit(sample.actions, sample.y, features=sample.latent)


def test_actions_without_rows_are_warned_of_or_refused(line: Rep4Ex) -> None:
    message = (
        r"1 of 2 actions are carried by few rows \(rows \[1\].*ESS .*inside_share.*'unsupported'.*times the action"
    )
    for ask in (line.predict, line.inference):
        with pytest.warns(ExtrapolationWarning, match=message) as caught:
            ask([[0.5], [4.0]])
        assert caught[0].filename == __file__
    strict = curve(on_unsupported="raise")
    strict.__dict__.update({name: value for name, value in vars(line).items() if name != "on_unsupported"})
    with pytest.raises(UnsupportedActionError, match=message):
        strict.predict([[0.5], [4.0]])
    assert strict.predict([[0.5]]).shape == (1,)


def test_a_curve_that_misses_the_data_is_said_at_fit_and_beyond_the_support() -> None:
    sample = make_intervention_curve(1500, strength=2.0, random_state=1)
    bent = curve(encoder=FunctionTransformer(lambda z: np.exp(z)))
    with pytest.warns(ExtrapolationWarning) as caught:
        bent.fit(sample.actions, sample.y, features=sample.latent)
    texts = [str(w.message) for w in caught]
    assert any("off by" in text and "limit 0.1" in text for text in texts)
    assert any("violates linear invariance" in text and "not trained for it" in text for text in texts)
    assert all(w.filename == __file__ for w in caught)
    assert not bent.diagnostics().ok
    with pytest.warns(ExtrapolationWarning, match="off by"):
        bent.predict([[1.1]])


def test_residuals_that_depend_on_the_action_are_said() -> None:
    rng = np.random.default_rng(2)
    actions = rng.uniform(-1, 1, (1500, 1))
    z = 2 * actions + rng.normal(size=(1500, 1)) * (0.2 + np.abs(actions))
    with pytest.warns(
        ExtrapolationWarning, match=r"depends on the action beyond its mean \(p = .*V is independent of A"
    ):
        curve().fit(actions, z[:, 0] + rng.normal(size=1500), features=z)


def test_questions_of_the_wrong_shape(line: Rep4Ex) -> None:
    with pytest.raises(ValueError, match="actions has 2 columns, expected 1"):
        line.predict([[0.1, 0.2]])
    with pytest.raises(ValueError, match="actions is out of scale"):
        line.predict([[0.1], [1e300]])
    with pytest.raises(ValueError, match="one-dimensional"):
        line.predict([0.1, 0.2])
    with pytest.raises(ValueError, match=r"actions has shape \(2, 1\), features \(3, 1\).*one action per row"):
        line.predict_given_features([[0.1], [0.2]], features=np.zeros((3, 1)))
    with pytest.raises(ValueError, match="phi has 2 columns, expected 1"):
        line.predict_given_features([[0.1]], features=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="method must be one of 'influence', 'bootstrap', 'ensemble'"):
        line.inference([[0.1]], method="exact")


def test_baselines_that_are_not_known_or_not_installed(line: Rep4Ex, monkeypatch: pytest.MonkeyPatch) -> None:
    known = r"names must be among 'linear', 'flexible', 'network', 'engression'; got \['forest'\]"
    with pytest.raises(ValueError, match=known):
        line.baselines([[0.1]], names=["linear", "forest"])
    monkeypatch.setitem(sys.modules, "engression", None)
    with pytest.raises(MissingDependencyError, match="baseline 'engression' needs engression, which is not installed"):
        line.baselines([[0.1]], names=["engression"])


def test_methods_that_need_more() -> None:
    fitted = encoder().fit(FEATURES, actions=ACTIONS)
    with pytest.raises(MethodNotApplicableError, match=r'inverse_transform.*needs a decoder.*method="autoencoder"'):
        fitted.inverse_transform(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="X and actions belong together"):
        fitted.invariance_test(FEATURES)
    with pytest.raises(ValueError, match="X has 400 rows, but actions has 300"):
        fitted.invariance_test(FEATURES, actions=ACTIONS[:300])
    with pytest.raises(ValueError, match="X has 4 features, but LinearInvarianceEncoder is expecting 10"):
        fitted.transform(FEATURES[:, :4])


def test_nothing_fitted_and_interrupts_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for model, call in (
        (encoder(), lambda m: m.transform(FEATURES)),
        (curve(), lambda m: m.predict(ACTIONS)),
        (SplineControlFunction(), lambda m: m.structural(LATENT)),
        (NeuralControlFunction(), lambda m: m.predict(LATENT, LATENT)),
    ):
        with pytest.raises(NotFittedError):
            call(model)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    model = curve()
    before = set(vars(model))
    monkeypatch.setattr("causalkit.extrapolation.rep4ex.reported_losses", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(ACTIONS, Y, features=LATENT)
    assert set(vars(model)) == before


# ---------------------------------------------------------------------- networks


def test_networks_without_torch_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"'\.\[torch\]"):
        NeuralControlFunction().fit(LATENT, LATENT, Y)


def test_influence_of_a_network_names_the_bootstrap() -> None:
    pytest.importorskip("torch")
    network = NeuralControlFunction(hidden_layer_sizes=(4,), max_steps=5, device="cpu", random_state=0)
    with pytest.warns(ExtrapolationWarning):
        model = curve(outcome_model=network).fit(ACTIONS, Y, features=LATENT)
    with pytest.raises(ValueError, match='got NeuralControlFunction: use method="bootstrap"'):
        model.inference(ACTIONS[:2])
