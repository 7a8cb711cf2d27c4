"""Simulated logs of published content with a categorical confounder: the smallest one, many levels, weekdays."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

from causalkit.datasets.reward_sample import LOADINGS, THETA, RewardSample, levels, linear_limits, reward_sample
from causalkit.datasets.simulated_map import as_generator
from causalkit.validation import check_integer

__all__ = ["make_reward_groups", "make_reward_two_by_two", "make_reward_weekday"]

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAY_EFFECTS = np.array([0.5, 0.3, 0.2, 0.1, -0.4, -0.35, -0.35])


def make_reward_two_by_two(n_samples: int | None = None, *, random_state: Any = None) -> RewardSample:
    r"""The smallest log: one binary feature, one binary confounder, :math:`Y = X + 3C`.

    C is 0 or 1 half-half and :math:`P(X = 1 \mid C) = .2, .8`. Raw outcomes give 2.8 instead of 1, subtracting the mean
    outcome given C and regressing on X gives .64, regression within the levels of C gives 1.

    Parameters
    ----------
    n_samples : int, optional
        Rows to draw, with standard normal noise. Default: ten rows that have exactly these frequencies and no noise.
    random_state : int, Generator, RandomState or None
        Draws in this order: n uniforms for C, n uniforms for X, n standard normals. Not used for the ten rows.

    Returns
    -------
    RewardSample
        Confounder ``audience``, a categorical column with the levels 0 and 1.

    Raises
    ------
    ValueError
        If the size is below 1.

    References
    ----------
    The design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_two_by_two
    >>> sample = make_reward_two_by_two()
    >>> sample.X[:, 0].tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    >>> sample.y.tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 4.0, 3.0]
    """
    if n_samples is None:
        C = np.repeat([0, 1], 5)
        X = np.array([1, 0, 0, 0, 0, 1, 1, 1, 1, 0], dtype=np.float64)
        noise = np.zeros(10)
    else:
        n = check_integer(n_samples, "n_samples", low=1)
        rng = as_generator(random_state)
        C = (rng.random(n) < 0.5).astype(np.int64)
        X = (rng.random(n) < np.where(C == 1, 0.8, 0.2)).astype(np.float64)
        noise = rng.standard_normal(n)
    # Var X = 1/4, Cov(X, C) = .15 and Var(X | C) = .16 at both levels.
    limits = {"none": 1 + 3 * 0.15 / 0.25, "outcome_only": 0.16 / 0.25}
    limits |= {"linear_control": 1.0, "fixed_effects": 1.0, "weighting": 1.0}
    population = {name: np.array([value]) for name, value in limits.items()}
    audience = levels(C, [0, 1])
    return reward_sample(X[:, None], np.ones(1), 3 * (C - 0.5), noise, {"audience": audience}, population, level=1.5)


def make_reward_groups(n_groups: int = 400, rows_per_group: int = 10, *, random_state: Any = None) -> RewardSample:
    r"""Simulate a confounder of many levels, such as authors, with few rows each.

    :math:`X = ba_g + U`, :math:`Y = \theta'X + 2a_g + \varepsilon`, θ and b as in :func:`make_reward_linear`, and
    :math:`a_g`, U, ε standard normal. Subtracting the group's mean outcome and regressing on raw features gives
    :math:`(1 - 1/n_g)\Sigma_X^{-1}\theta`; regression within groups gives θ, with the standard error
    :math:`1/\sqrt{N - G}` of each coefficient.

    Parameters
    ----------
    n_groups : int, default=400
        G, at least 2.
    rows_per_group : int, default=10
        :math:`n_g`.
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: G for a, N·4 for U, N for ε.

    Returns
    -------
    RewardSample
        Confounder ``author``, a categorical column; the rows of an author stand together.

    Raises
    ------
    ValueError
        If a size is out of range.

    References
    ----------
    The design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_groups
    >>> sample = make_reward_groups(50, 2, random_state=0)
    >>> sample.confounders["author"].nunique(), sample.population["outcome_only"].round(3).tolist()
    (50, [0.4, 0.325, -0.375, 0.0])
    """
    n_levels = check_integer(n_groups, "n_groups", low=2)
    size = check_integer(rows_per_group, "rows_per_group", low=1)
    rng = as_generator(random_state)
    codes = np.repeat(np.arange(n_levels), size)
    a = rng.standard_normal(n_levels)[codes]
    X = np.outer(a, LOADINGS) + rng.standard_normal((len(codes), 4))
    limits = linear_limits(2.0)
    population = {
        "none": limits["none"],
        "outcome_only": (1 - 1 / size) * limits["outcome_only"],
        "fixed_effects": THETA,
        "mixed": THETA,
        "mundlak": THETA,
    }
    labels = [f"author_{level:0{len(str(n_levels - 1))}d}" for level in range(n_levels)]
    authors = levels(codes, labels)
    return reward_sample(X, THETA, 2 * a, rng.standard_normal(len(codes)), {"author": authors}, population)


def make_reward_weekday(
    n_questions: int = 5000, answers_per_question: int = 3, *, random_state: Any = None
) -> RewardSample:
    r"""Simulate answers whose rating depends on the weekday on which they were posted.

    Every answer has a quality q, the only feature, and a random weekday d: :math:`Y = q + \delta_d + \varepsilon`
    with q, ε standard normal and δ = (.5, .3, .2, .1, -.4, -.35, -.35) from Monday to Sunday. Two answers of different
    days are compared by their outcomes: day d wins against d' with probability
    :math:`\Phi((\delta_d - \delta_{d'})/2)`, .6136 on average for Monday and .4088 for Friday. Pairs of adjusted
    rewards are won half of the time by every day.

    Parameters
    ----------
    n_questions : int, default=5000
        Questions.
    answers_per_question : int, default=3
        Answers of each.
    random_state : int, Generator, RandomState or None
        Draws in this order: n integers below 7 for the days, n standard normals for q, n for ε.

    Returns
    -------
    RewardSample
        Confounder ``weekday``, a categorical column from Monday to Sunday; ``prompts`` are the questions;
        ``population["win_share"]``, shape (7,), is the share of pairs of different days that each day wins.

    Raises
    ------
    ValueError
        If a size is below 1.

    References
    ----------
    The weekday markers in preference pairs of Loghmani (2026), Reward Modeling for Business Objectives; the design is
    ours.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_weekday
    >>> sample = make_reward_weekday(10, random_state=0)
    >>> sample.X.shape, sample.population["win_share"].round(4)[[0, 4]].tolist()
    ((30, 1), [0.6136, 0.4088])
    """
    n_prompts = check_integer(n_questions, "n_questions", low=1)
    size = check_integer(answers_per_question, "answers_per_question", low=1)
    rng = as_generator(random_state)
    n = n_prompts * size
    day = rng.integers(7, size=n)
    q = rng.standard_normal(n)
    chance = ndtr(np.subtract.outer(_WEEKDAY_EFFECTS, _WEEKDAY_EFFECTS) / 2)
    np.fill_diagonal(chance, 0.0)
    population = {"none": np.ones(1), "fixed_effects": np.ones(1), "win_share": chance.sum(axis=1) / 6}
    weekday = levels(day, list(_WEEKDAYS))
    prompts = np.repeat(np.arange(n_prompts, dtype=np.int64), size)
    return reward_sample(
        q[:, None],
        np.ones(1),
        _WEEKDAY_EFFECTS[day],
        rng.standard_normal(n),
        {"weekday": weekday},
        population,
        prompts=prompts,
    )
