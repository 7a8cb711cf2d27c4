"""Preference pairs, labelled texts and scored texts from rewards, as rows that trainers of language models take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.confounders import confounder_frame
from causalkit.rewards.diagnostics import prompt_variation
from causalkit.rewards.pair_candidates import Rows, count_candidates, keep_pairs
from causalkit.rewards.pair_inputs import (
    PairUnits,
    check_amount,
    check_texts,
    pair_bounds,
    pair_errors,
    pair_rules,
    pair_units,
)
from causalkit.seeds import root_seed
from causalkit.validation import check_choice, check_integer, check_same_index, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["make_preference_pairs"]

Array = NDArray[np.float64]

_MOST_PAIRS = 20_000_000


def make_preference_pairs(
    rewards: Any,
    *,
    prompts: Any = None,
    texts: Any = None,
    strata: Any = None,
    standard_error: Any = None,
    noise_variance: float = 0.0,
    min_gap: float = 0.0,
    min_z: float = 0.0,
    max_pairs_per_prompt: int | None = 10,
    scope: str = "prompt",
    ties: str = "drop",
    margin_scale: float | None = None,
    confounders: Any = None,
    robust: Any = None,
    output: str = "pairs",
    random_state: Any = None,
) -> pd.DataFrame:
    r"""Rows for preference trainers from rewards of texts.

    Two rows (i, j) of a prompt, of a stratum or of the whole log become a pair when

    .. math:: |R_i - R_j| > \texttt{min\_gap} \quad\text{and}\quad |R_i - R_j| > \texttt{min\_z}\cdot SE_{ij},\qquad
              SE_{ij}^2 = se_i^2 + se_j^2 + 2\,\texttt{noise\_variance},

    the row with the larger reward being the chosen one, with

    .. math:: \text{margin} = (R_i - R_j) / s .

    A reward trainer that minimises :math:`-\log\sigma(r_c - r_r - \text{margin})`, such as trl's, takes the margin in
    log-odds, which is why it is divided by s. Preference optimisation without a reward model (DPO) takes no margin:
    use ``min_gap``. Winners taken from noisy rewards keep the direction of a preference and not its size.

    Parameters
    ----------
    rewards : array-like, shape (n,)
        Adjusted rewards of logged rows, or predicted rewards.
    prompts : array-like, shape (n,), optional
        Prompt of each row; pass the prompts themselves where a trainer shall read them.
    texts : list or Series of str, optional
        Text of each row; without it ``chosen`` and ``rejected`` hold None.
    strata : array-like, shape (n,), optional
        Stratum of each row, for ``scope="stratum"``.
    standard_error : array-like, shape (n,), or callable, optional
        Of each reward; or a function of two arrays of rows that returns the error of each difference, such as those
        of ``pair_inference``.
    noise_variance : float, default=0.0
        Variance of the noise in each reward; ``residual_variance_`` for adjusted rewards.
    min_gap, min_z : float, default=0.0
        Smallest difference, in units of the rewards and in standard errors; differences must exceed them.
    max_pairs_per_prompt : int or None, default=10
        Pairs of one prompt, drawn evenly from those that pass the rules and not by the largest difference. In the
        wider scopes each row counts as a prompt: this many times the number of rows of a stratum, or of the log.
        There, pairs are drawn until the number is reached or 20 times as many were looked at. None keeps all.
    scope : {"prompt", "stratum", "global"}, default="prompt"
        What two rows must share.
    ties : {"drop", "error"}, default="drop"
        Equal rewards give no pair; "error" refuses them.
    margin_scale : float, optional
        s; default the standard deviation of the kept differences (their root mean square where they are all equal).
    confounders : frame or array-like, shape (n, q), optional
        To report the share of prompts in which each one varies: what is constant within a prompt cancels in its
        pairs, what varies (time, position, author) does not.
    robust : tuple (estimator, X, cf_y, cf_d), optional
        Keeps pairs whose sign no unmeasured confounder of that strength can turn; the estimator is a fitted
        :class:`RewardDeconfounder`, X the features (or texts) of the rows.
    output : {"pairs", "unpaired", "scalar"}, default="pairs"
        Columns ``prompt, chosen, rejected, margin, chosen_row, rejected_row, standard_error``; or ``prompt,
        completion, label`` with the best third of each prompt True, the worst third False (at least one row each;
        tied rows get the same label); or ``prompt, completion, reward`` of every row.
    random_state : int, RandomState, Generator or None, default=None
        Draws the pairs.

    Returns
    -------
    DataFrame
        ``prompt`` is empty where there are no prompts, or where the two rows do not share theirs;
        ``standard_error`` is NaN where no error was given. ``attrs`` holds ``candidates``, ``kept``, ``dropped`` (a
        count per rule; they add up), ``margin_scale``, and ``confounder_variation`` (share of prompts by confounder).

    Raises
    ------
    ValueError
        ``prompts`` or ``strata`` missing where the scope needs them, no pair left (with the count of each rule), tied
        rewards with ``ties="error"``, an option that the output has no use for.
    IdentificationError
        ``robust`` with features that do not vary given the confounders.

    References
    ----------
    Omitted variable bias: Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis, arXiv:2112.13398.

    Examples
    --------
    >>> from causalkit.rewards import make_preference_pairs
    >>> pairs = make_preference_pairs(
    ...     [2.0, 1.0, 0.5, 3.0, 2.9], prompts=["p", "p", "p", "q", "q"], texts=list("abcde"), min_gap=0.4
    ... )
    >>> pairs[["prompt", "chosen", "rejected"]].to_numpy().tolist()
    [['p', 'a', 'b'], ['p', 'a', 'c'], ['p', 'b', 'c']]
    >>> pairs.attrs["dropped"]
    {'tie': 0, 'min_gap': 1, 'cap': 0}
    """
    check_choice(scope, "scope", ("prompt", "stratum", "global"))
    check_choice(ties, "ties", ("drop", "error"))
    check_choice(output, "output", ("pairs", "unpaired", "scalar"))
    min_gap, min_z = check_amount(min_gap, "min_gap"), check_amount(min_z, "min_z")
    noise_variance = check_amount(noise_variance, "noise_variance")
    if margin_scale is not None:
        check_amount(margin_scale, "margin_scale", positive=True)
    if max_pairs_per_prompt is not None:
        check_integer(max_pairs_per_prompt, "max_pairs_per_prompt", low=1)
    _refuse_unused(output, {"min_z": min_z > 0, "robust": robust is not None, "margin_scale": margin_scale is not None})
    R = check_vector(rewards, "rewards")
    n = len(R)
    for name, value in (("texts", texts), ("confounders", confounders), ("standard_error", standard_error)):
        check_same_index(rewards, value, ("rewards", name))
    content = check_texts(texts, n)
    needs_units = output != "scalar" or prompts is not None or scope != "prompt"
    units = pair_units(rewards, n, scope if needs_units else "global", prompts, strata)
    if ties == "error":
        _refuse_ties(R, units.codes)
    variation = _variation(confounders, n, units)
    if output == "scalar":
        frame = _scored(R, content, units, min_gap)
    elif output == "unpaired":
        frame = _unpaired(R, content, units, min_gap)
    else:
        errors = pair_errors(standard_error, noise_variance, n, min_z)
        rules = pair_rules(R, min_gap, min_z, errors, None if robust is None else pair_bounds(robust, n))
        caps = _caps(units.codes, max_pairs_per_prompt, scope)
        kept = keep_pairs(units.codes, caps, rules, np.random.default_rng(root_seed(random_state)))
        _refuse_nothing(len(kept.first), count_candidates(units.codes), kept.dropped, scope)
        frame = _paired(R, content, units, (kept.first, kept.second), errors, margin_scale)
        frame.attrs.update(candidates=count_candidates(units.codes), kept=len(frame), dropped=kept.dropped)
    if variation is not None:
        frame.attrs["confounder_variation"] = variation
    return frame


def _refuse_unused(output: str, given: dict[str, bool]) -> None:
    unused = [name for name, value in given.items() if value]
    if output != "pairs" and unused:
        raise ValueError(f'{unused[0]} is a rule for pairs: output="{output}" has none. Leave {unused[0]} out.')


def _refuse_ties(rewards: Array, codes: Rows) -> None:
    order = np.lexsort((rewards, codes))
    tied = (np.diff(rewards[order]) == 0) & (np.diff(codes[order]) == 0)
    if tied.any():
        k = int(np.argmax(tied))
        i, j = sorted((int(order[k]), int(order[k + 1])))
        raise ValueError(
            f"rewards are tied in {int(tied.sum())} neighbours of the same unit (first: rows {i} and {j}, "
            f'{rewards[i]:g}): ties="error" refuses them; pass ties="drop" to leave such pairs out.'
        )


def _refuse_nothing(kept: int, candidates: int, dropped: dict[str, int], scope: str) -> None:
    if kept == 0:
        counts = ", ".join(f"{name} {number}" for name, number in dropped.items())
        raise ValueError(
            f'no pair survives of {candidates} candidates with scope="{scope}"; dropped by rule: {counts}. Lower '
            "min_gap or min_z, weaken robust, or choose a wider scope."
        )


def _caps(codes: Rows, most: int | None, scope: str) -> Rows | None:
    if most is None:
        candidates = count_candidates(codes)
        if candidates > _MOST_PAIRS:
            raise ValueError(
                f"max_pairs_per_prompt=None would look at {candidates} pairs, more than {_MOST_PAIRS}: pass a number, "
                "or a narrower scope."
            )
        return None
    sizes = np.bincount(codes)
    return np.asarray(np.full(len(sizes), most) if scope == "prompt" else most * sizes)


def _variation(confounders: Any, n: int, units: PairUnits) -> dict[str, float] | None:
    """Share of prompts in which each confounder varies; plain numbers, so that ``attrs`` can be compared and saved."""
    if confounders is None:
        return None
    frame = confounder_frame(confounders, None)
    if len(frame) != n:
        raise ValueError(f"confounders has {len(frame)} rows, but rewards has {n}: pass the same rows to both.")
    codes = units.codes if units.prompts is None else units.prompts.codes
    shares = prompt_variation(frame, codes)["share_of_prompts"]
    return {str(name): float(share) for name, share in shares.items()}


def _prompt_column(units: PairUnits, first: Rows, second: Rows) -> NDArray[np.object_]:
    if units.prompts is None:
        return np.full(len(first), "", dtype=object)
    codes = units.prompts.codes
    column = units.prompts.labels.astype(object)[codes[first]]
    column[codes[first] != codes[second]] = ""
    return np.asarray(column, dtype=object)


def _paired(
    rewards: Array,
    content: NDArray[np.object_],
    units: PairUnits,
    pair: tuple[Rows, Rows],
    errors: Any,
    margin_scale: float | None,
) -> pd.DataFrame:
    import pandas as pd

    first, second = pair
    better = rewards[first] > rewards[second]
    chosen, rejected = np.where(better, first, second), np.where(better, second, first)
    gap = rewards[chosen] - rewards[rejected]
    scale = margin_scale
    if scale is None:
        unit = gap / gap.max()  # squares of very large or small rewards are no numbers
        size = float(np.sqrt((unit**2).mean()) * gap.max())
        spread = float(unit.std() * gap.max())
        # Equal gaps have a spread of rounding size, and a margin of 1 says all that there is to say.
        scale = spread if spread > 1e-9 * size else size
    frame = pd.DataFrame(
        {
            "prompt": _prompt_column(units, chosen, rejected),
            "chosen": content[chosen],
            "rejected": content[rejected],
            "margin": gap / scale,
            "chosen_row": chosen,
            "rejected_row": rejected,
            "standard_error": np.full(len(gap), np.nan) if errors is None else errors(chosen, rejected),
        }
    )
    frame.attrs["margin_scale"] = float(scale)
    return frame


def _unpaired(rewards: Array, content: NDArray[np.object_], units: PairUnits, min_gap: float) -> pd.DataFrame:
    """Rows at or above the reward of the last row of the best third, and at or below that of the worst third."""
    import pandas as pd

    codes = units.codes
    sizes = np.bincount(codes)
    order = np.lexsort((rewards, codes))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    third = np.maximum(sizes // 3, 1)
    worst, best = rewards[order[starts + third - 1]], rewards[order[starts + sizes - third]]
    apart = best - worst > min_gap
    usable = apart[codes]
    good, bad = usable & (rewards >= best[codes]), usable & (rewards <= worst[codes])
    rows = np.flatnonzero(good | bad)
    dropped = {
        "single": int((sizes == 1).sum()),
        "min_gap": int((~usable & (sizes[codes] > 1)).sum()),
        "middle": int((usable & ~good & ~bad).sum()),
    }
    if len(rows) == 0:
        raise ValueError(
            f"no row survives of {len(rewards)}: {dropped['single']} rows are alone in their prompt, and "
            f"{dropped['min_gap']} belong to prompts whose best and worst third differ by at most min_gap={min_gap:g}. "
            "Lower min_gap, or choose a wider scope."
        )
    frame = pd.DataFrame(
        {"prompt": _prompt_column(units, rows, rows), "completion": content[rows], "label": good[rows]}
    )
    frame.attrs.update(candidates=len(rewards), kept=len(rows), dropped=dropped)
    return frame


def _scored(rewards: Array, content: NDArray[np.object_], units: PairUnits, min_gap: float) -> pd.DataFrame:
    import pandas as pd

    _refuse_unused("scalar", {"min_gap": min_gap > 0})
    rows = np.arange(len(rewards))
    frame = pd.DataFrame({"prompt": _prompt_column(units, rows, rows), "completion": content, "reward": rewards})
    frame.attrs.update(candidates=len(rows), kept=len(rows), dropped={})
    return frame
