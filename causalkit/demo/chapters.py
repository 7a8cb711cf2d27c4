"""The chapters of the demo, in order. A family joins by its line here."""

from causalkit.demo import augmentation, composition, debiasing, extrapolation, graph, rewards
from causalkit.demo.content import Chapter

__all__ = ["CHAPTERS"]

CHAPTERS: tuple[Chapter, ...] = (
    debiasing.CHAPTER,
    composition.CHAPTER,
    augmentation.CHAPTER,
    rewards.CHAPTER,
    graph.CHAPTER,
    extrapolation.CHAPTER,
)  # fmt: skip
