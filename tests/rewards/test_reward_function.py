"""The reward function: the trainer's contract, formulas of reward, error and support, pickling, bad input."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.pipeline import make_pipeline

from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.reward_function import RewardFunction, as_reward_function

WORDS = ("good", "bad", "news", "today", "free")


def count_words(texts: list[str]) -> Any:
    """One column per word."""
    return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=float)


class Linear:
    """A fitted linear reward with what a reward function reads."""

    def __init__(self, **changes: Any) -> None:
        rng = np.random.default_rng(0)
        root = rng.normal(size=(5, 5))
        self.coef_, self.intercept_ = np.array([1.0, -2.0, 0.5, 0.0, 3.0]), 7.0
        self.covariance_, self.feature_mean_ = root @ root.T / 50, rng.uniform(0, 1, 5)
        self.feature_covariance_ = np.diag([1.0, 2.0, 1.0, 0.5, 1.0]) + 0.2
        self.reward_quantiles_, self.support_radius_ = np.linspace(4.0, 12.0, 1001), 3.0
        self.n_features_in_, self.encoder_ = 5, count_words
        vars(self).update(changes)

    def predict(self, X: Any) -> Any:
        return self.intercept_ + X @ self.coef_


TEXTS = ["good news", "bad bad free", "something else", "free free free free today"]
ESTIMATOR = Linear()


def distance(text: str) -> float:
    centred = count_words([text])[0] - ESTIMATOR.feature_mean_
    return float(np.sqrt(centred @ np.linalg.inv(ESTIMATOR.feature_covariance_) @ centred))


def test_rewards_are_plain_floats_in_order() -> None:
    values = as_reward_function(ESTIMATOR)(prompts=["p"] * 4, completions=TEXTS, completion_ids=[[1]] * 4)
    assert values == [8.5, 6.0, 7.0, 19.0]
    assert type(values) is list and all(type(value) is float for value in values)


def test_what_a_trainer_adds_is_ignored() -> None:
    """Columns of the data set and extras, also under names that the function does not know."""
    values = as_reward_function(ESTIMATOR)(
        completions=TEXTS,
        prompts=TEXTS,
        answer=[1, 2, 3, 4],
        trainer_state=object(),
        log_extra=print,
        environments=[None] * 4,
    )
    assert values == [8.5, 6.0, 7.0, 19.0]


@pytest.mark.parametrize("blank", ["", "  \n\t", [], [{"role": "assistant", "content": None}]])
def test_blank_completions_have_no_reward(blank: Any) -> None:
    reward = as_reward_function(ESTIMATOR)
    assert reward(completions=["good news", blank]) == [8.5, None]
    assert reward(completions=[blank]) == [None]
    assert reward(completions=[]) == []
    # A prompt does not make up for it.
    with_prompt = as_reward_function(ESTIMATOR, text="prompt_completion")
    assert with_prompt(prompts=["free"], completions=[blank]) == [None]


def test_messages_count_by_what_the_assistant_says() -> None:
    reward = as_reward_function(ESTIMATOR)
    one = [{"role": "assistant", "content": "good news"}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "good"}, {"type": "image"}, {"text": "news"}]}]
    several = [
        {"role": "assistant", "content": "good"},
        {"role": "tool", "content": "free free free"},
        {"role": "assistant", "content": "news"},
    ]
    assert reward(completions=[one, parts, several]) == [8.5] * 3
    both = as_reward_function(ESTIMATOR, text="prompt_completion")
    prompt = [{"role": "system", "content": "bad"}, {"role": "user", "content": "today"}]
    assert both(prompts=[prompt, "free"], completions=[one, one]) == [6.5, 11.5]


def test_prompt_and_completion_are_put_together_as_generated() -> None:
    seen: list[str] = []

    def record(texts: list[str]) -> Any:
        seen.extend(texts)
        return count_words(texts)

    reward = as_reward_function(ESTIMATOR, encoder=record, text="prompt_completion")
    reward(prompts=["go", "go "], completions=["od", "news"])
    assert seen == ["good", "go news"]


@pytest.mark.parametrize("conservative", [0.0, 0.5, 2.0])
def test_standard_errors_are_taken_off(conservative: float) -> None:
    centred = count_words(TEXTS) - ESTIMATOR.feature_mean_
    expected = [
        7.0 + x @ ESTIMATOR.coef_ - conservative * math.sqrt(c @ ESTIMATOR.covariance_ @ c)
        for x, c in zip(count_words(TEXTS), centred, strict=True)
    ]
    values = as_reward_function(ESTIMATOR, conservative=conservative)(completions=TEXTS)
    np.testing.assert_allclose(np.array(values, dtype=float), expected, rtol=1e-13)


def test_clip_cuts_to_quantiles_of_training_rewards() -> None:
    values = as_reward_function(ESTIMATOR, clip=(0.3, 0.75))(completions=TEXTS)
    np.testing.assert_allclose(np.array(values, dtype=float), [8.5, 6.4, 7.0, 10.0], rtol=1e-13)


def test_texts_out_of_support() -> None:
    far = [distance(text) > 3.0 for text in TEXTS]
    assert far == [False, False, False, True]
    assert as_reward_function(ESTIMATOR, out_of_support="keep")(completions=TEXTS)[3] == 19.0
    assert as_reward_function(ESTIMATOR, out_of_support="none")(completions=TEXTS) == [8.5, 6.0, 7.0, None]
    assert as_reward_function(ESTIMATOR, out_of_support="clip")(completions=TEXTS) == [8.5, 6.0, 7.0, 12.0]
    both = as_reward_function(ESTIMATOR, out_of_support="clip", clip=(0.0, 0.5))(completions=TEXTS)
    assert both == [8.0, 6.0, 7.0, 8.0]


def test_support_ends_at_the_radius() -> None:
    exact = Linear(support_radius_=distance(TEXTS[1]))
    assert as_reward_function(exact, out_of_support="none")(completions=[TEXTS[1]]) == [6.0]
    below = Linear(support_radius_=distance(TEXTS[1]) * (1 - 1e-6))
    assert as_reward_function(below, out_of_support="none")(completions=[TEXTS[1]]) == [None]


@pytest.mark.parametrize("out_of_support", ["keep", "none", "clip"])
def test_share_out_of_support_is_logged(out_of_support: str) -> None:
    logged: list[tuple[str, float]] = []
    reward = as_reward_function(ESTIMATOR, out_of_support=out_of_support, name="clicks")
    reward(completions=[*TEXTS, ""], log_metric=lambda name, value: logged.append((name, value)))
    # One of four texts; the blank one is none.
    assert logged == [("clicks/out_of_support", 0.25)]


def test_select_best_takes_the_largest_reward() -> None:
    reward = as_reward_function(ESTIMATOR)
    lists = [["bad", "good", "free", "free"], ["", " "], ["", "bad"], ["news today", "news"]]
    assert reward.select_best(lists) == ["free", None, "bad", "news today"]
    message = [{"role": "assistant", "content": "free"}]
    assert reward.select_best([["good", message]]) == [message]
    both = as_reward_function(ESTIMATOR, text="prompt_completion")
    assert both.select_best([["good", "x"], ["bad"]], prompts=["bad ", "free "]) == ["good", "bad"]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_make_no_difference(batch_size: int) -> None:
    sizes: list[int] = []

    def record(texts: list[str]) -> Any:
        sizes.append(len(texts))
        return count_words(texts)

    reward = as_reward_function(ESTIMATOR, encoder=record, batch_size=batch_size)
    assert reward(completions=TEXTS) == [8.5, 6.0, 7.0, 19.0] == reward(completions=TEXTS)
    assert max(sizes) <= batch_size and sum(sizes) == 8


def test_torch_encoders_run_in_inference_mode() -> None:
    torch = pytest.importorskip("torch")

    class Encoder(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.dropout, self.scale = torch.nn.Dropout(0.5), torch.nn.Parameter(torch.ones(5))
            self.modes: list[tuple[bool, bool]] = []

        def forward(self, texts: list[str]) -> Any:
            self.modes.append((self.training, torch.is_inference_mode_enabled()))
            return self.dropout(torch.as_tensor(count_words(texts), dtype=torch.float32) * self.scale)

    encoder = Encoder()
    assert as_reward_function(ESTIMATOR, encoder=encoder)(completions=TEXTS) == [8.5, 6.0, 7.0, 19.0]
    assert encoder.modes == [(False, True)]
    assert encoder.training


# ---------------------------------------------------------------------- estimators

LOG_TEXTS = [" ".join(np.random.default_rng(k).choice([*WORDS, "we", "say", "it"], 2 + k % 5)) for k in range(120)]
LOG_X = count_words(LOG_TEXTS)
LOG_AUTHOR = pd.DataFrame({"author": np.arange(120) % 6}).astype(str)
LOG_Y = LOG_X @ [1.0, -1.0, 0.3, 0.0, 0.5] + np.arange(120) % 6 + np.random.default_rng(0).normal(size=120)


def values_of(reward: RewardFunction, texts: list[str]) -> Any:
    return np.array(reward(completions=texts), dtype=float)


@pytest.mark.parametrize("method", ["fixed_effects", "partially_linear", "none"])
def test_reward_is_that_of_predict(method: str) -> None:
    fit = RewardDeconfounder(method=method, encoder=count_words, random_state=0).fit(
        LOG_TEXTS, LOG_Y, confounders=LOG_AUTHOR
    )
    reward, error = fit.predict(LOG_TEXTS[:20], return_std=True)
    np.testing.assert_allclose(values_of(as_reward_function(fit), LOG_TEXTS[:20]), reward, rtol=1e-12)
    careful = as_reward_function(fit, conservative=1.5)
    np.testing.assert_allclose(values_of(careful, LOG_TEXTS[:20]), reward - 1.5 * error, rtol=1e-10)
    # 99.9 % of the training texts are in support: of 120, all but the furthest.
    inside = as_reward_function(fit, out_of_support="none")(completions=LOG_TEXTS)
    assert sum(value is None for value in inside) <= 1
    numbers = RewardDeconfounder(method=method, random_state=0).fit(LOG_X, LOG_Y, confounders=LOG_AUTHOR)
    np.testing.assert_allclose(
        values_of(as_reward_function(numbers, encoder=count_words), LOG_TEXTS[:20]), reward, rtol=1e-12
    )


def test_fitted_transformers_encode() -> None:
    encoder = make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0))
    fit = RewardDeconfounder(method="fixed_effects", encoder=encoder).fit(LOG_TEXTS, LOG_Y, confounders=LOG_AUTHOR)
    np.testing.assert_allclose(values_of(as_reward_function(fit), LOG_TEXTS[:9]), fit.predict(LOG_TEXTS[:9]))
    sparse = CountVectorizer(vocabulary=list(WORDS))
    numbers = Linear(encoder_=None)
    assert as_reward_function(numbers, encoder=sparse)(completions=TEXTS) == [8.5, 6.0, 7.0, 19.0]


def test_other_rewards_go_through_their_own_predict() -> None:
    features = pd.DataFrame(LOG_X, columns=list(WORDS))
    model = BayesianRidge().fit(features, LOG_Y)
    reward, error = model.predict(features, return_std=True)
    np.testing.assert_allclose(values_of(as_reward_function(model, encoder=count_words), LOG_TEXTS), reward)
    careful = as_reward_function(model, encoder=count_words, conservative=2.0)
    np.testing.assert_allclose(values_of(careful, LOG_TEXTS), reward - 2 * error)


def test_pairwise_rewards() -> None:
    model = PairwiseRewardModel(random_state=0).fit(LOG_X, LOG_Y)
    reward = as_reward_function(model, encoder=count_words)
    np.testing.assert_allclose(values_of(reward, LOG_TEXTS), LOG_X @ model.coef_, rtol=1e-12)
    with pytest.raises(ValueError, match="a pairwise reward has errors for pairs only"):
        as_reward_function(model, encoder=count_words, conservative=1.0)


# ---------------------------------------------------------------------- pickling, importing


def test_pickled_function_gives_the_same_rewards() -> None:
    reward = as_reward_function(ESTIMATOR, conservative=1.0, clip=(0.1, 0.9), out_of_support="none", name="clicks")
    again = pickle.loads(pickle.dumps(reward))
    assert again(completions=TEXTS) == reward(completions=TEXTS)
    assert again.__name__ == reward.__name__ == "clicks"
    assert repr(again) == "<RewardFunction clicks>"


def test_pickles_hold_nothing_of_the_log() -> None:
    """The reward of 50 000 rows is as small as that of a few."""
    n = 50_000
    X = np.random.default_rng(0).normal(size=(n, 5))
    groups = pd.DataFrame({"group": np.arange(n) % 7}).astype(str)
    fit = RewardDeconfounder(method="fixed_effects").fit(X, X[:, 0], confounders=groups)
    assert len(pickle.dumps(as_reward_function(fit, encoder=count_words, out_of_support="none"))) < 50_000


def test_lambda_encoders_are_refused_on_pickling_by_name() -> None:
    reward = as_reward_function(ESTIMATOR, encoder=lambda texts: count_words(texts))
    assert reward(completions=TEXTS[:1]) == [8.5]
    with pytest.raises(pickle.PicklingError, match=r"encoder .*<lambda> cannot be pickled"):
        pickle.dumps(reward)


def test_no_trainer_is_imported() -> None:
    code = (
        "import json, sys\nfrom causalkit.rewards.reward_function import as_reward_function\n"
        "from tests.rewards.test_reward_function import ESTIMATOR\n"
        "as_reward_function(ESTIMATOR)(completions=['good'])\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "causalkit" in loaded
    assert not loaded & {"trl", "transformers", "datasets", "accelerate", "torch"}


# ---------------------------------------------------------------------- bad input


class NoSupport(Linear):
    def __init__(self) -> None:
        super().__init__()
        del self.support_radius_, self.reward_quantiles_


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "completions is missing: a reward function is called with keywords"),
        ({"completions": "good"}, TypeError, "prompts and completions must be lists"),
        ({"completions": ["a"], "prompts": "p"}, TypeError, "prompts and completions must be lists"),
        ({"completions": ["a", "b"], "prompts": ["p"]}, ValueError, "prompts has 1 items, but completions has 2"),
        ({"completions": ["a", 3]}, TypeError, r"completions\[1\] is int: expected a string, or a list of messages"),
        ({"completions": ["a", None]}, TypeError, r"completions\[1\] is NoneType"),
        ({"completions": [["a"]]}, TypeError, r"completions\[0\] holds str without content"),
        ({"completions": [[{"role": "assistant"}]]}, TypeError, r"completions\[0\] holds dict without content"),
        (
            {"completions": [[{"role": "assistant", "content": 5}]]},
            TypeError,
            r"completions\[0\] has a message with int as content",
        ),
    ],
)
def test_calls_are_checked(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_reward_function(ESTIMATOR)(**arguments)


def test_prompts_are_checked_where_they_are_read() -> None:
    reward = as_reward_function(ESTIMATOR, text="prompt_completion")
    with pytest.raises(TypeError, match='prompts is missing, which text="prompt_completion" needs'):
        reward(completions=["a"])
    with pytest.raises(TypeError, match=r"prompts\[0\] is int"):
        reward(completions=["a"], prompts=[1])


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda texts: np.zeros((len(texts), 3)), "encoder returned 3 columns, but the reward was fitted on 5"),
        (lambda texts: np.zeros(len(texts)), r"encoder must return numbers of shape \(1, p\): got shape \(1,\)"),
        (lambda texts: np.full((len(texts), 5), np.nan), "encoder returned NaN or infinity for 1 texts"),
    ],
)
def test_encoder_output_is_checked(encoder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_reward_function(ESTIMATOR, encoder=encoder)(completions=["good"])


@pytest.mark.parametrize(
    ("estimator", "options", "error", "message"),
    [
        (Linear(encoder_=None), {}, ValueError, "encoder is missing: a reward function is handed texts"),
        (RewardDeconfounder, {}, TypeError, "estimator must be a fitted RewardDeconfounder"),
        (count_words, {}, TypeError, "estimator must be a fitted RewardDeconfounder"),
        (ESTIMATOR, {"encoder": 5}, TypeError, "encoder must be a callable, or a transformer"),
        (ESTIMATOR, {"encoder": TfidfVectorizer()}, NotFittedError, "not fitted"),
        (RewardDeconfounder(), {"encoder": count_words}, NotFittedError, "RewardDeconfounder"),
        (ESTIMATOR, {"text": "both"}, ValueError, "text must be one of 'completion', 'prompt_completion'"),
        (ESTIMATOR, {"out_of_support": "drop"}, ValueError, "out_of_support must be one of 'keep', 'none', 'clip'"),
        (ESTIMATOR, {"batch_size": 0}, ValueError, "batch_size must be an integer at least 1"),
        (ESTIMATOR, {"name": ""}, ValueError, "name must be a string that is not empty"),
        (ESTIMATOR, {"conservative": -1}, ValueError, "conservative must be a finite number of at least 0; got -1"),
        (ESTIMATOR, {"clip": (0.9, 0.1)}, ValueError, "clip must be two quantiles"),
        (ESTIMATOR, {"clip": (-5.0, 5.0)}, ValueError, "clip must be two quantiles"),
        (ESTIMATOR, {"clip": 0.1}, ValueError, "clip must be two quantiles"),
        (NoSupport(), {"clip": (0.1, 0.9)}, ValueError, "clip needs quantiles of the training rewards"),
        (NoSupport(), {"out_of_support": "none"}, ValueError, 'out_of_support="none" needs the training support'),
        (
            LinearRegression().fit(LOG_X, LOG_Y),
            {"encoder": count_words, "conservative": 1.0},
            ValueError,
            "conservative=1 needs the standard error of each reward.*LinearRegression.predict has no return_std",
        ),
    ],
)
def test_options_are_checked(estimator: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_reward_function(estimator, **options)


def test_non_linear_rewards_have_no_errors() -> None:
    linear = Linear(final_model_=LinearRegression().fit(LOG_X, LOG_Y))
    reward = as_reward_function(linear)
    np.testing.assert_allclose(values_of(reward, LOG_TEXTS), linear.final_model_.predict(LOG_X))
    with pytest.raises(ValueError, match="conservative=1 needs the standard error of each reward, which linear"):
        as_reward_function(linear, conservative=1.0)


def test_stateless_transformers_need_no_fit() -> None:
    model = LinearRegression().fit(HashingVectorizer(n_features=16).transform(LOG_TEXTS).toarray(), LOG_Y)
    reward = as_reward_function(model, encoder=HashingVectorizer(n_features=16))
    assert all(math.isfinite(value) for value in values_of(reward, LOG_TEXTS))


def test_lists_of_drafts_are_checked() -> None:
    reward = as_reward_function(ESTIMATOR)
    with pytest.raises(TypeError, match="candidates must be a list of lists of drafts"):
        reward.select_best(["good", "bad"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"candidates\[1\] is empty"):
        reward.select_best([["good"], []])
    with pytest.raises(ValueError, match="prompts has 2 items, but candidates has 1 lists"):
        reward.select_best([["good"]], prompts=["p", "q"])
