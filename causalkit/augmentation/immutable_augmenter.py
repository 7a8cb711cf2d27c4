"""Parameters of an estimator that holds an immutable augmenter: it is replaced as a whole, never in part."""

from __future__ import annotations

from typing import Any

__all__ = ["ImmutableAugmenterMixin"]


class ImmutableAugmenterMixin:
    """Leaves ``augmentation__...`` out of ``get_params``, so that ``set_params(**get_params())`` holds."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of nested estimators are included. Those of an augmenter are not: it is immutable, and
            ``set_params(augmentation=...)`` takes another one.

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_params(deep)  # type: ignore[misc]
        return {name: value for name, value in params.items() if not name.startswith("augmentation__")}
