"""as_reward_function: a fitted reward as the function that trainers of language models call."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from causalkit.rewards.reward_inputs import encode_batches, texts_of
from causalkit.rewards.reward_scoring import Rewards, Support, reward_limits
from causalkit.validation import check_choice, check_integer

__all__ = ["RewardFunction", "as_reward_function"]

Array = NDArray[np.float64]


class RewardFunction:
    r"""Rewards of completions, called as trl's GRPO trainer calls its reward functions.

    .. math:: r = \hat r(x) - \texttt{conservative}\cdot SE(x),\qquad
              d(x) = \sqrt{(x - \bar x)'\Sigma_X^{+}(x - \bar x)}

    with x the encoded text and SE the error of its reward relative to that of the mean text. Texts whose distance d
    exceeds the 99.9 % quantile of the training texts are out of support. Only what is needed for new texts is kept, so
    the object stays small when it is pickled. Made by :func:`as_reward_function`, which documents the parameters.

    Attributes
    ----------
    __name__ : str
        Under which a trainer logs the rewards.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        encoder: Any = None,
        text: str = "completion",
        conservative: float = 0.0,
        clip: tuple[float, float] | None = None,
        out_of_support: str = "keep",
        batch_size: int = 64,
        name: str = "deconfounded_reward",
    ) -> None:
        _check_estimator(estimator)
        check_choice(text, "text", ("completion", "prompt_completion"))
        check_choice(out_of_support, "out_of_support", ("keep", "none", "clip"))
        self.batch_size = check_integer(batch_size, "batch_size", low=1)
        if not isinstance(name, str) or not name:
            raise ValueError(f"name must be a string that is not empty; got {name!r}.")
        self.__name__ = name
        self.text, self.out_of_support = text, out_of_support
        self.encoder = _checked_encoder(encoder, estimator)
        self._rewards = Rewards(estimator, _checked_penalty(conservative))
        self._limits = reward_limits(estimator, clip, out_of_support)
        self._clip_all = clip is not None
        self._support = Support(estimator) if hasattr(estimator, "support_radius_") else None
        if self._support is None and out_of_support != "keep":
            raise ValueError(
                f'out_of_support="{out_of_support}" needs the training support, which {type(estimator).__name__} does '
                'not have: use a fitted RewardDeconfounder, or out_of_support="keep".'
            )

    def __call__(
        self, prompts: Any = None, completions: Any = None, completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """Reward of each completion.

        Parameters
        ----------
        prompts : list of str or of message lists, optional
            Needed with ``text="prompt_completion"``.
        completions : list of str or of message lists
            Texts, or messages of which those by the assistant are joined.
        completion_ids : list, optional
            Ignored.
        **columns
            Other columns of the data set and what the trainer adds: ignored, except ``log_metric``, which is told the
            share of texts out of support.

        Returns
        -------
        list of float or None
            One per completion, in order. None for a blank completion, and out of support with
            ``out_of_support="none"``; trainers leave None out.

        Raises
        ------
        TypeError
            Completions missing, or an item that is neither a string nor messages.
        ValueError
            Other numbers of prompts and completions.
        """
        texts = texts_of(*self._checked(prompts, completions))
        spoken = [k for k, text in enumerate(texts) if text is not None]
        rewards: list[float | None] = [None] * len(texts)
        if not spoken:
            return rewards
        features = encode_batches(self.encoder, [texts[k] or "" for k in spoken], self.batch_size)
        values, outside = self._valued(features, columns.get("log_metric"))
        for place, k in enumerate(spoken):
            if not (self.out_of_support == "none" and outside[place]):
                rewards[k] = float(values[place])
        return rewards

    def select_best(self, candidates: list[list[Any]], *, prompts: Any = None) -> list[Any]:
        """Best of n: of each list of candidates the one with the largest reward.

        Parameters
        ----------
        candidates : list of lists
            Drafts of each item, as strings or message lists.
        prompts : list, optional
            One per list, with ``text="prompt_completion"``.

        Returns
        -------
        list
            One candidate per list, the first one of equals; None where no candidate has a reward.
        """
        if isinstance(candidates, str) or any(isinstance(drafts, str) for drafts in candidates):
            raise TypeError("candidates must be a list of lists of drafts, one list per item; got a string in it.")
        if prompts is not None and len(prompts) != len(candidates):
            raise ValueError(f"prompts has {len(prompts)} items, but candidates has {len(candidates)} lists.")
        sizes = [len(drafts) for drafts in candidates]
        if 0 in sizes:
            raise ValueError(f"candidates[{sizes.index(0)}] is empty: every list needs at least one draft.")
        repeated = None if prompts is None else [p for p, size in zip(prompts, sizes, strict=True) for _ in range(size)]
        flat = [draft for drafts in candidates for draft in drafts]
        values = [-np.inf if value is None else value for value in self(prompts=repeated, completions=flat)]
        best = []
        for drafts, end in zip(candidates, np.cumsum(sizes), strict=True):
            own = values[end - len(drafts) : end]
            best.append(drafts[int(np.argmax(own))] if max(own) > -np.inf else None)
        return best

    def _checked(self, prompts: Any, completions: Any) -> tuple[list[Any], Any]:
        if completions is None:
            raise TypeError(
                "completions is missing: a reward function is called with keywords, completions=[...] and, for "
                'text="prompt_completion", prompts=[...].'
            )
        if isinstance(completions, str) or isinstance(prompts, str):
            raise TypeError("prompts and completions must be lists, one item per completion; got one string.")
        items = list(completions)
        if prompts is not None and len(prompts) != len(items):
            raise ValueError(f"prompts has {len(prompts)} items, but completions has {len(items)}: pass one for one.")
        if self.text == "completion":
            return items, None
        if prompts is None:
            raise TypeError('prompts is missing, which text="prompt_completion" needs: pass one per completion.')
        return items, list(prompts)

    def _valued(self, features: NDArray[np.floating], log_metric: Any) -> tuple[Array, NDArray[np.bool_]]:
        if self._rewards.n_features not in (None, features.shape[1]):
            raise ValueError(
                f"encoder returned {features.shape[1]} columns, but the reward was fitted on "
                f"{self._rewards.n_features}: pass the encoder that made the training features."
            )
        values = self._rewards(features)
        outside = np.zeros(len(values), dtype=bool)
        if self._support is not None and (self.out_of_support != "keep" or log_metric is not None):
            outside = self._support.outside(features)
            if log_metric is not None:
                log_metric(f"{self.__name__}/out_of_support", float(outside.mean()))
        if self._limits is not None:
            clipped = np.clip(values, *self._limits)
            values = clipped if self._clip_all else np.where(outside, clipped, values)
        return values, outside

    def __getstate__(self) -> dict[str, Any]:
        name = getattr(self.encoder, "__qualname__", "")
        if "<" in name:
            raise pickle.PicklingError(
                f"encoder {name} cannot be pickled, being a lambda or a function inside a function: define it with def "
                "at the top of a module, or pass a transformer."
            )
        return self.__dict__

    def __repr__(self) -> str:
        return f"<RewardFunction {self.__name__}>"


def as_reward_function(
    estimator: Any,
    *,
    encoder: Any = None,
    text: str = "completion",
    conservative: float = 0.0,
    clip: tuple[float, float] | None = None,
    out_of_support: str = "keep",
    batch_size: int = 64,
    name: str = "deconfounded_reward",
) -> RewardFunction:
    r"""Turn a fitted reward into a reward function for reinforcement learning, such as trl's GRPO.

    Within a group of completions of one prompt GRPO looks at differences only, so neither the level nor the scale of
    the reward matters there. The result is deterministic, can be pickled and imports no trainer.

    Parameters
    ----------
    estimator : RewardDeconfounder
        Fitted; any fitted regressor with ``predict`` will do where nothing below needs its errors or its support.
    encoder : transformer or callable, optional
        Texts to the features of the fit; default that of the estimator, ``encoder_``.
    text : {"completion", "prompt_completion"}, default="completion"
        What is encoded: the completion, or the prompt followed by it, as in the training texts.
    conservative : float, default=0.0
        Standard errors of the reward that are taken off it.
    clip : tuple (low, high), optional
        Quantiles of the training rewards, such as (0.01, 0.99), to which rewards are cut.
    out_of_support : {"keep", "none", "clip"}, default="keep"
        Texts further from the training mean than 99.9 % of the training texts keep their reward, get None, or have it
        cut to the range of the training rewards (to ``clip`` where it is given).
    batch_size : int, default=64
        Texts encoded at once.
    name : str, default="deconfounded_reward"
        Under which the trainer logs it.

    Returns
    -------
    RewardFunction

    Raises
    ------
    NotFittedError
        Estimator, or a transformer as encoder, not fitted.
    ValueError
        No encoder; ``conservative`` with a reward that has no errors; quantiles out of order; no training support.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards import RewardDeconfounder, as_reward_function
    >>> def length_and_question(texts):
    ...     return np.array([[len(text.split()), "?" in text] for text in texts], dtype=float)
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([rng.integers(1, 9, 200), rng.integers(0, 2, 200)]).astype(float)
    >>> month = rng.integers(0, 3, 200).astype(str)
    >>> y = X @ [0.1, 1.0] + rng.normal(size=200)
    >>> fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders={"month": month})
    >>> reward = as_reward_function(fit, encoder=length_and_question)
    >>> reward.select_best([["Read this now", "Have you read this?"]])
    ['Have you read this?']
    >>> reward(completions=["  "])
    [None]
    """
    return RewardFunction(
        estimator,
        encoder=encoder,
        text=text,
        conservative=conservative,
        clip=clip,
        out_of_support=out_of_support,
        batch_size=batch_size,
        name=name,
    )


def _check_estimator(estimator: Any) -> None:
    if not hasattr(estimator, "predict") or isinstance(estimator, type):
        raise TypeError(
            f"estimator must be a fitted RewardDeconfounder or another regressor with predict; got {estimator!r}."
        )
    if isinstance(estimator, BaseEstimator):
        check_is_fitted(estimator)


def _checked_encoder(encoder: Any, estimator: Any) -> Any:
    chosen = encoder if encoder is not None else getattr(estimator, "encoder_", None)
    if chosen is None:
        raise ValueError(
            f"encoder is missing: a reward function is handed texts, and {type(estimator).__name__} was fitted on "
            "numbers. Pass encoder=, the callable or fitted transformer that made its features."
        )
    if not hasattr(chosen, "transform") and not callable(chosen):
        raise TypeError(
            f"encoder must be a callable, or a transformer with transform; got {type(chosen).__name__}: pass one that "
            "turns a list of texts into an (n, p) array."
        )
    if isinstance(chosen, BaseEstimator):
        try:
            check_is_fitted(chosen)
        except NotFittedError:
            # Some transformers, such as a vectoriser with a given vocabulary, work without a fit: this one decides.
            chosen.transform(["text"])
    return chosen


def _checked_penalty(conservative: Any) -> float:
    ok = isinstance(conservative, int | float | np.number) and not isinstance(conservative, bool)
    if not ok or not 0 <= conservative < np.inf:
        raise ValueError(f"conservative must be a finite number of at least 0; got {conservative!r}.")
    return float(conservative)
