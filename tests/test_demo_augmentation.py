"""The demo's chapter on augmentation: its tables against formulas and published designs, its words, its figures."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from scipy import stats

from causalkit.datasets import make_linear_augmentation
from causalkit.demo.augmentation import CHAPTER, digits, directions, instruments, simulation, trees
from causalkit.demo.augmentation.small_design import draw_small_design
from causalkit.demo.chapters import CHAPTERS
from causalkit.demo.content import Settings
from causalkit.demo.runner import run_chapter
from causalkit.demo.terminal import Terminal
from causalkit.exceptions import WeakInstrumentWarning

TITLES = (
    "A simulation with a known effect",
    "Distrust, and what a false invariance costs",
    "Moved and untouched directions",
    "Coloured digits",
    "An effect that is not linear",
    "Real instruments",
)


@pytest.fixture(scope="module")
def result():
    return run_chapter(CHAPTER, Settings(), Terminal(io.StringIO()))


@pytest.fixture(scope="module")
def sections(result):
    return dict(zip(TITLES, result.sections, strict=True))


@pytest.fixture(scope="module")
def small():
    return draw_small_design(0)


def table(section, number=0, index="fit"):
    return section.tables[number].frame.set_index(index)


# ---------------------------------------------------------------------- the whole


def test_chapter_is_registered_and_has_its_sections(result):
    assert CHAPTER in CHAPTERS
    assert tuple(section.title for section in result.sections) == TITLES
    assert all(section.readings and section.tables for section in result.sections)


def test_every_figure_draws_under_its_own_name(result):
    figures = [figure for section in result.sections for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) == 7
    for figure in figures:
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        assert canvas.axes and all(ax.has_data() for ax in canvas.axes)
        buffer = io.BytesIO()
        canvas.savefig(buffer, dpi=30)
        assert buffer.getvalue().startswith(b"\x89PNG")


def test_words_claim_no_more_than_the_method_gives(result):
    text = " ".join(
        " ".join([section.text, *section.readings, *(t.note for t in section.tables)]) for section in result.sections
    )
    for claim in ("removes confounding", "never worse", "tests the invariance", "unconfounded"):
        assert claim not in text
    assert "which no data can confirm" in text
    assert "outcome invariance itself cannot be tested" in text.lower()


# ---------------------------------------------------------------------- linear


def test_errors_of_the_published_design(sections):
    """Means of 400 draws: .4187, .0734, .0193, .0108, .0157, .0023; bands of three standard errors of 12 draws."""
    errors = table(sections[TITLES[0]])["Euclidean"]
    assert errors["least squares"] == pytest.approx(0.4187, abs=0.18)
    assert errors["least squares on shifted data"] == pytest.approx(0.0734, abs=0.025)
    assert errors["published, α = 0.1"] == pytest.approx(0.0193, abs=0.009)
    assert errors["published, α = 0.01"] == pytest.approx(0.0108, abs=0.006)
    assert errors["from pairs, α = 0.1"] == pytest.approx(0.0157, abs=0.009)
    assert errors["from pairs, α = 0.01"] == pytest.approx(0.0023, abs=0.002)


def test_intervals_are_shown_beside_the_population_limit(sections, small):
    frame = sections[TITLES[0]].tables[1].frame
    drawn = make_linear_augmentation(1500, 6, keep_probability=0.6, random_state=0)
    B = drawn.basis.T @ drawn.basis
    limit = np.linalg.solve(drawn.covariance + 11 * B, drawn.covariance @ drawn.coef + drawn.confounding_vector)
    np.testing.assert_allclose(frame["pseudo-true"], limit, rtol=1e-10)
    np.testing.assert_array_equal(frame["truth"], drawn.coef)
    design = np.column_stack([np.ones(1500), small.X])
    np.testing.assert_allclose(frame["least squares"], np.linalg.lstsq(design, small.y, rcond=None)[0][1:], rtol=1e-9)
    inside = (frame["lower"] <= limit) & (limit <= frame["upper"])
    assert (frame["holds pseudo-true"] == inside).all()


def test_intervals_hold_the_pseudo_true_coefficients():
    pseudo, effect, total = simulation._count_held(100, 12)
    assert total == 72
    assert stats.binom.cdf(pseudo, total, 0.95) > 1e-3, "coverage of .95, within a binomial band"
    assert effect < pseudo, "confounding that is left is not in the intervals"


def test_small_design_has_its_stated_share_of_confounding(small):
    residual = small.y - small.X.to_numpy() @ small.effect
    explained = np.linalg.lstsq(np.column_stack([np.ones(len(residual)), small.X]), residual, rcond=None)[0][1:]
    share = np.var(small.X.to_numpy() @ explained) / np.var(residual)
    assert share == pytest.approx(small.r2, abs=0.05)


def test_trusting_a_false_invariance_ends_at_its_formula(sections):
    """α → 0 restricts the fit to the span of the invariant part: nCER = δ²/(1 + 2δ²) once that part is found."""
    swept = table(sections[TITLES[1]], index="δ")
    for delta in (0.3, 0.5, 0.75, 1.0):
        assert swept.loc[delta, "α = 0.001"] == pytest.approx(delta**2 / (1 + 2 * delta**2), abs=0.01)
    control = table(sections[TITLES[1]], 1, index="δ")
    assert control.loc[1.0, "α = 0.001"] == pytest.approx(1 / 3, abs=0.01)
    assert (control["least squares"] < 1e-3).all(), "no confounding: least squares is right"


def test_sweep_says_where_the_order_turns(sections):
    swept, text = table(sections[TITLES[1]], index="δ"), " ".join(sections[TITLES[1]].readings)
    assert swept.loc[0.0, "α = 0.001"] < swept.loc[0.0, "α = ∞"] < swept.loc[0.0, "least squares"]
    for rival, words in (("α = ∞", "α = ∞"), ("least squares", "plain least squares")):
        first = next(delta for delta in swept.index if swept.loc[delta, "α = 0.001"] > swept.loc[delta, rival])
        assert f"worse than {words} from δ = {first:g} on" in text


# ---------------------------------------------------------------------- directions


def test_split_of_an_error_is_a_projection():
    rng = np.random.default_rng(0)
    root, basis, error = rng.standard_normal((5, 5)), rng.standard_normal((5, 2)), rng.standard_normal(5)
    covariance = root.T @ root
    moved, kept = directions.split_error(error, covariance, basis)
    assert moved**2 + kept**2 == pytest.approx(error @ covariance @ error)
    distance = np.linalg.lstsq(root @ basis, root @ error, rcond=None)[1][0]
    assert moved**2 == pytest.approx(distance)


def test_untouched_part_of_the_population_error_is_that_of_least_squares():
    """N'Σ(h_α - f) = N'v for every alpha: the note below the table."""
    drawn = make_linear_augmentation(10, 6, keep_probability=0.6, random_state=0)
    untouched = np.linalg.svd(drawn.basis)[2][len(drawn.basis) :].T
    plain = directions.split_error(drawn.least_squares_coef - drawn.coef, drawn.covariance, untouched)
    for alpha in (0.0, 0.1, np.inf):
        part = directions.split_error(drawn.population_coef(alpha) - drawn.coef, drawn.covariance, untouched)
        assert part[1] == pytest.approx(plain[1])
        assert part[0] < plain[0]


def test_direction_tables(sections, small):
    section = sections[TITLES[2]]
    errors = table(section)
    assert errors.loc["from pairs, α = 0.001", "moved"] < 0.01 < errors.loc["least squares", "moved"]
    assert errors["untouched"].max() < 1.2 * errors["untouched"].min()
    bounds = table(section, 1, index="feature")
    np.testing.assert_array_equal(bounds["truth"], small.effect)
    assert bounds["holds the effect"].all()
    assert (bounds["upper"] - bounds["lower"] < bounds["upper, alone"] - bounds["lower, alone"]).all()
    assert any("contradicts the invariance" in line for line in section.readings)


# ---------------------------------------------------------------------- digits and trees


def test_digits_reach_the_reference_accuracies(sections):
    """Exact kernel ridge, ten splits: least squares, one draw, both colourings, grey images; within .03."""
    found = table(sections[TITLES[3]]).to_numpy()
    reference = {
        0: (0.841, 0.499, 0.103, 0.305),
        1: (0.684, 0.687, 0.672, 0.862),
        3: (0.700, 0.707, 0.704, 0.906),
        4: (0.686, 0.690, 0.692, 0.881),
    }
    for row, expected in reference.items():
        np.testing.assert_allclose(found[row], expected, atol=0.03)


def test_picture_swaps_the_two_colours():
    images = digits.make_colored_digits(random_state=0).train
    picture = digits._picture(images)
    assert picture.shape == (17, 35, 3)
    above, below = picture[:8], picture[9:]
    np.testing.assert_array_equal((above < 1).any(axis=2), (below < 1).any(axis=2))
    inked = (above < 1).any(axis=2)
    assert (above[inked] != below[inked]).any(axis=1).all()


def test_trees_stay_within_the_bars_of_the_design(sections):
    error = table(sections[TITLES[4]])["error of the effect"]
    assert 0.85 < error["boosting"] < 0.95
    assert 0.22 < error["boosting on shifted data (α = ∞)"] < 0.32
    assert error["with the penalty, α = 0.1"] < 0.06
    assert error.is_monotonic_decreasing


def test_curves_have_no_constant():
    class Shifted:
        def predict(self, X):
            return X[:, 1] + 5.0

    grid = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(trees._curve(Shifted(), 1, grid), grid)


# ---------------------------------------------------------------------- instruments


def lagged(source, lags):
    growth = instruments.growth_table()
    columns = [growth[source].shift(lag) for lag in lags]
    rows = np.column_stack([growth["consumption"], growth["income"], *columns])
    rows = rows[~np.isnan(rows).any(axis=1)]
    return rows[:, 0] - rows[:, 0].mean(), rows[:, 1] - rows[:, 1].mean(), rows[:, 2:] - rows[:, 2:].mean(axis=0)


def pvalue(beta, y, x, Z):
    """F test that the residual is unrelated to the instruments."""
    n, k = Z.shape
    residual = y - beta * x
    fitted = Z @ np.linalg.lstsq(Z, residual, rcond=None)[0]
    rest = residual - fitted
    return stats.f.sf((fitted @ fitted / k) / (rest @ rest / (n - k - 1)), k, n - k - 1)


@pytest.mark.parametrize(("row", "source", "lags"), [(0, "consumption", (1, 2, 3)), (1, "consumption", (2, 3, 4)),
                                                     (2, "income", (2, 3, 4))])  # fmt: skip
def test_coefficients_are_those_of_explicit_projections(sections, row, source, lags):
    y, x, Z = lagged(source, lags)
    fitted = Z @ np.linalg.lstsq(Z, x, rcond=None)[0]
    shown = sections[TITLES[5]].tables[0].frame.iloc[row]
    assert shown["least squares"] == pytest.approx(x @ y / (x @ x), rel=1e-9)
    assert shown["two stages (α = 0)"] == pytest.approx(fitted @ y / (fitted @ x), rel=1e-9)
    assert shown["F"] < 10


def test_sets_end_where_the_test_just_rejects(sections):
    frame = sections[TITLES[5]].tables[0].frame
    assert frame["shape"].tolist() == ["empty", "bounded", "two rays"]
    with pytest.warns(WeakInstrumentWarning):
        cases = [
            instruments._case("a", instruments.growth_table(), source, (2, 3, 4)).found.intervals
            for source in ("consumption", "income")
        ]
    bounded, rays = lagged("consumption", (2, 3, 4)), lagged("income", (2, 3, 4))
    ends = [(end, bounded) for end in cases[0][0]] + [(cases[1][0][1], rays), (cases[1][1][0], rays)]
    for end, rows in ends:
        assert pvalue(end, *rows) == pytest.approx(0.05, abs=1e-9)
    empty = lagged("consumption", (1, 2, 3))
    assert max(pvalue(beta, *empty) for beta in np.linspace(-20, 20, 4001)) < 0.05


def test_drawn_parameters_are_refused_and_weak_instruments_named(sections):
    section = sections[TITLES[5]]
    assert "refused (anderson_rubin is for real instruments" in section.readings[-1]
    assert any(line.startswith("WeakInstrumentWarning") for line in section.messages)
