"""Data: shipped files, files that you provide, and simulated designs that return their truth.

Every simulated design takes ``random_state``, documents the order of its draws, cites its source and
returns the sample together with its truth: maps return a :class:`SimulatedMap` (a calibration sample, a
trial, the true effect, and the values that estimators have in the population), compositions a
:class:`LogisticNormalSample`, confounded linear designs with an augmentation a :class:`ConfoundedLinearSample`, logs of
published content a :class:`RewardSample`, treatments on networks a :class:`GraphSample`, actions with features that
respond to them an :class:`InterventionSample`.
"""

from causalkit.datasets.augmentation_designs import (
    ConfoundedLinearSample,
    LinearAugmentationSample,
    NonlinearAugmentationSample,
    make_linear_augmentation,
    make_nonlinear_augmentation,
)
from causalkit.datasets.colored_digits import ColoredDigits, ColoredImages, make_colored_digits
from causalkit.datasets.composition_designs import (
    CompositionNetwork,
    LogisticNormalSample,
    make_composition_network,
    make_logistic_normal,
)
from causalkit.datasets.composition_tables import (
    fetch_american_gut,
    fetch_gemas_soil,
    fetch_roman_glass_cups,
    fetch_soil_otu,
    fetch_yeast_absolute,
    load_expenditure_shares,
    load_school_shares,
)
from causalkit.datasets.data_files import cache_directory, fetch, find_shipped
from causalkit.datasets.gaussian_maps import (
    DifferentialMap,
    make_differential_map,
    make_gaussian_map,
    make_surrogacy_map,
)
from causalkit.datasets.graph_designs import (
    make_graph_complex_baseline,
    make_graph_heterogeneity,
    make_graph_paper,
    make_graph_random_gnn,
)
from causalkit.datasets.graph_sample import GraphSample
from causalkit.datasets.graph_spillover_designs import make_graph_direct_effect, make_graph_uptake
from causalkit.datasets.grouped_maps import PanelMap, SiteMap, make_panel_map, make_site_map
from causalkit.datasets.heteroscedastic_map import heteroscedastic_map_bias, make_heteroscedastic_map
from causalkit.datasets.image_interventions import (
    ImageInterventionSample,
    make_moved_digit,
    make_rendered_shapes,
)
from causalkit.datasets.intervention_designs import InterventionSample, make_intervention_curve
from causalkit.datasets.mixture_map import MixtureMapTruth, make_mixture_map, mixture_map_truth
from causalkit.datasets.optical_device import OpticalSample, load_optical_device, make_optical_like
from causalkit.datasets.paper_map import PaperMap, make_paper_map
from causalkit.datasets.reward_designs import make_reward_instrument, make_reward_linear, make_reward_nonlinear
from causalkit.datasets.reward_level_designs import make_reward_groups, make_reward_two_by_two, make_reward_weekday
from causalkit.datasets.reward_sample import RewardSample
from causalkit.datasets.reward_texts import election_tweet_features, load_election_tweets, load_movie_reviews
from causalkit.datasets.simulated_map import SimulatedMap
from causalkit.datasets.tables import load_cora, load_diabetes_map, load_income_map
from causalkit.datasets.tilting import TiltedArms, tilt_arms

__all__ = [
    "ColoredDigits",
    "ColoredImages",
    "CompositionNetwork",
    "ConfoundedLinearSample",
    "DifferentialMap",
    "GraphSample",
    "ImageInterventionSample",
    "InterventionSample",
    "LinearAugmentationSample",
    "LogisticNormalSample",
    "MixtureMapTruth",
    "NonlinearAugmentationSample",
    "OpticalSample",
    "PanelMap",
    "PaperMap",
    "RewardSample",
    "SimulatedMap",
    "SiteMap",
    "TiltedArms",
    "cache_directory",
    "election_tweet_features",
    "fetch",
    "fetch_american_gut",
    "fetch_gemas_soil",
    "fetch_roman_glass_cups",
    "fetch_soil_otu",
    "fetch_yeast_absolute",
    "find_shipped",
    "heteroscedastic_map_bias",
    "load_cora",
    "load_diabetes_map",
    "load_election_tweets",
    "load_expenditure_shares",
    "load_income_map",
    "load_movie_reviews",
    "load_optical_device",
    "load_school_shares",
    "make_colored_digits",
    "make_composition_network",
    "make_differential_map",
    "make_gaussian_map",
    "make_graph_complex_baseline",
    "make_graph_direct_effect",
    "make_graph_heterogeneity",
    "make_graph_paper",
    "make_graph_random_gnn",
    "make_graph_uptake",
    "make_heteroscedastic_map",
    "make_intervention_curve",
    "make_linear_augmentation",
    "make_logistic_normal",
    "make_mixture_map",
    "make_moved_digit",
    "make_nonlinear_augmentation",
    "make_optical_like",
    "make_panel_map",
    "make_paper_map",
    "make_rendered_shapes",
    "make_reward_groups",
    "make_reward_instrument",
    "make_reward_linear",
    "make_reward_nonlinear",
    "make_reward_two_by_two",
    "make_reward_weekday",
    "make_site_map",
    "make_surrogacy_map",
    "mixture_map_truth",
    "tilt_arms",
]
