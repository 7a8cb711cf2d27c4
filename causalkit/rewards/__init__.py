"""Rewards: how good logged content is in itself, net of the known confounders of its outcome."""

from causalkit.rewards.comparison import benchmark_confounders, compare_rewards
from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.diagnostics import RewardDiagnostics
from causalkit.rewards.encoders import SentenceEncoder
from causalkit.rewards.fusion import ExperimentFusion, combine_with_experiment
from causalkit.rewards.pairs import make_preference_pairs
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.reward_function import RewardFunction, as_reward_function
from causalkit.rewards.sensitivity import e_value, omitted_variable_bias, robustness_value

__all__ = [
    "ExperimentFusion",
    "PairwiseRewardModel",
    "RewardDeconfounder",
    "RewardDiagnostics",
    "RewardFunction",
    "SentenceEncoder",
    "as_reward_function",
    "benchmark_confounders",
    "combine_with_experiment",
    "compare_rewards",
    "e_value",
    "make_preference_pairs",
    "omitted_variable_bias",
    "robustness_value",
]
