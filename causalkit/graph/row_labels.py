"""Labels of the rows of a fit, with which arguments that come later are compared, also after loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from causalkit._encoding import Encoder
from causalkit.exceptions import PersistenceError
from causalkit.graph.inputs import check_same_rows

__all__ = ["RowLabels", "row_labels"]


@dataclass(frozen=True, eq=False)
class RowLabels:
    """Index of the rows of a fit.

    Attributes
    ----------
    index : pandas.Index
        Labels, or their texts.
    as_text : bool
        Whether they are texts: of labels that a file cannot hold, such as periods.
    """

    index: Any
    as_text: bool = False

    def check(self, **others: Any) -> None:
        """Refuse arguments that have these labels in another order.

        Raises
        ------
        AlignmentError
            Naming the argument.
        """
        import pandas as pd

        for name, other in others.items():
            labels = getattr(other, "index", None)
            if isinstance(labels, pd.Index):
                labels = labels.map(str) if self.as_text else labels
                check_same_rows(pd.DataFrame(index=self.index), **{name: pd.DataFrame(index=labels)})

    def _saved_state(self) -> dict[str, Any]:
        try:
            Encoder().encode(self.index)
        except PersistenceError:
            return {"index": self.index.map(str), "as_text": True}
        return {"index": self.index, "as_text": self.as_text}


def row_labels(X: Any) -> RowLabels | None:
    """Labels of the rows of a pandas frame, else None."""
    import pandas as pd

    labels = getattr(X, "index", None)
    return RowLabels(labels) if isinstance(labels, pd.Index) else None
