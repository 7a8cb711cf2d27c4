"""Reading a log: texts through an encoder, features, confounders, instruments, weights and clusters, all checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.rewards.confounders import Confounders, confounder_frame, refuse_unseen, resolve_roles
from causalkit.rewards.orthogonal import gram, transposed_times
from causalkit.rewards.records import LoggedRows
from causalkit.validation import (
    check_fit_table,
    check_groups,
    check_magnitude,
    check_matrix,
    check_same_index,
    check_sample_weight,
    check_vector,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["encode", "is_text", "prompt_codes", "read_log"]

Array = NDArray[np.float64]


def is_text(X: Any) -> bool:
    """Whether X is a list, Series or array of strings."""
    if isinstance(X, str):
        return True
    if hasattr(X, "ndim") and X.ndim != 1:
        return False
    if hasattr(X, "columns"):
        return False
    values = X.to_list() if hasattr(X, "to_list") else X
    try:
        first = next((v for v in values if v is not None), None)
    except TypeError:
        return False
    return isinstance(first, str)


def text_list(X: Any, name: str = "X") -> list[str]:
    """The texts of X as a list of strings.

    Raises
    ------
    TypeError
        An entry is not a string.
    """
    if isinstance(X, str):
        raise TypeError(f"{name} is one string: expected a list or Series of strings, one per row.")
    values = X.to_list() if hasattr(X, "to_list") else list(X)
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(
                f"{name} must hold strings for an encoder: row {i} is {type(value).__name__}. Replace missing texts by "
                "'' or drop these rows."
            )
    return values


def _check_encoder(encoder: Any, X: Any, name: str) -> None:
    """Refuse names and classes in place of encoders, and tables of texts in place of the texts."""
    if isinstance(encoder, str | type):
        raise TypeError(
            f"encoder must be a transformer object or a function of a list of strings; got {encoder!r}. Pass an "
            "object, such as TfidfVectorizer() or SentenceEncoder()."
        )
    if len(getattr(X, "columns", ())) == 1 and is_text(X.iloc[:, 0] if hasattr(X, "iloc") else X[X.columns[0]]):
        raise TypeError(
            f"{name} is a table of one column of texts, {X.columns[0]!r}: pass the column itself, such as "
            f"df[{str(X.columns[0])!r}]{'' if encoder is not None else ', and an encoder'}."
        )


def encode(encoder: Any, X: Any, *, name: str = "X") -> Any:
    """Features of X: through the encoder where there is one.

    Raises
    ------
    TypeError
        Texts without an encoder.
    ValueError
        The encoder's output is not (n, p) or not finite; the first bad row is named.
    """
    _check_encoder(encoder, X, name)
    if encoder is None:
        if is_text(X):
            raise TypeError(
                f"{name} holds texts and there is no encoder: pass encoder=, such as SentenceEncoder() or "
                "make_pipeline(TfidfVectorizer(), TruncatedSVD(300))."
            )
        return X
    texts = text_list(X, name)
    if hasattr(encoder, "transform"):
        output = encoder.transform(texts)
    else:
        output = encoder(texts)
    if hasattr(output, "toarray"):
        output = output.toarray()
    array = np.asarray(output)
    if array.ndim != 2 or len(array) != len(texts) or array.dtype.kind not in "fiub":
        raise ValueError(
            f"encoder must return numbers of shape ({len(texts)}, p): got shape {array.shape}, {array.dtype}."
        )
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise ValueError(
            f"encoder returned NaN or infinity for {int(bad.sum())} texts (first: row {int(np.argmax(bad))})."
        )
    return array


def fitted_encoder(encoder: Any, X: Any) -> Any:
    """A transformer is cloned and fitted on the texts without y; a callable stays as it is."""
    _check_encoder(encoder, X, "X")
    if encoder is None or not hasattr(encoder, "transform"):
        return encoder
    return clone(encoder).fit(text_list(X))


def read_log(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    confounders: Any,
    instruments: Any,
    target_confounders: Any,
    prompts: Any,
    sample_weight: Any,
    groups: Any,
) -> tuple[LoggedRows, pd.DataFrame | None]:
    """Check everything before any work, and code the confounders.

    Returns
    -------
    rows : LoggedRows
    frame : DataFrame or None
        The confounders as a frame.
    """
    if confounders is None and estimator.method != "none":
        raise ValueError(
            f'confounders is missing, which method="{estimator.method}" needs: pass the columns that moved the '
            'outcome besides the content. method="none" ranks raw outcomes.'
        )
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None: expected one outcome per row of X.")
    n_rows = _check_lengths(
        X,
        y=y,
        confounders=confounders,
        instruments=instruments,
        prompts=prompts,
        groups=groups,
        sample_weight=sample_weight,
    )
    estimator.encoder_ = fitted_encoder(estimator.encoder, X)
    features = encode(estimator.encoder_, X)
    # Frames come column by column: in rows, chunks are read in one piece and sums are those of an array to the bit.
    features, outcome = check_fit_table(
        estimator,
        features,
        y,
        y_numeric=True,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_min_samples=2,
        magnitude=True,
    )
    outcome = check_vector(outcome, "y")
    weight = check_sample_weight(sample_weight, n_rows, like="X")
    if weight is not None:
        weight = weight / weight.mean()
    coded, targets, frame = _code_confounders(estimator, confounders, target_confounders, n_rows)
    Z, z_names = _check_instruments(instruments, n_rows)
    names = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    names = names or [f"x{j}" for j in range(features.shape[1])]
    mean = transposed_times(features, np.ones(n_rows) if weight is None else weight) / n_rows
    moment = gram(features, weight, centre=mean) / n_rows
    clusters = check_groups(groups, n_rows, like="X")
    rows = LoggedRows(features, outcome, coded, weight, clusters, names, Z, z_names, targets, mean, moment)
    return rows, frame


def _check_instruments(instruments: Any, n_rows: int) -> tuple[Array | None, list[str]]:
    """Instruments as numbers, and their names."""
    if instruments is None:
        return None, []
    values, names = check_matrix(instruments, "instruments", n_rows=n_rows, like="X")
    check_magnitude(values, "instruments")
    return values, names


def prompt_codes(prompts: Any, n_rows: int) -> NDArray[np.intp] | None:
    """Number of the prompt of each row.

    Raises
    ------
    ValueError, TypeError
        Missing labels, several columns, or labels that cannot be compared.
    """
    try:
        found = check_groups(prompts, n_rows, name="prompts", like="X")
    except TypeError as error:
        raise TypeError(
            f"prompts must hold labels that can be compared, such as strings or numbers ({error}): for conversations "
            "pass an id per row."
        ) from None
    return None if found is None else found.codes


def _check_lengths(X: Any, **others: Any) -> int:
    """Number of rows of X, which every other argument that is given must share."""
    n_rows = _length(X)
    if n_rows is None:
        raise TypeError(f"X must be a table of features or a list of texts: got {type(X).__name__}.")
    for name, value in others.items():
        check_same_index(X, value, ("X", name))
        size = None if value is None else _length(value)
        if size is not None and size != n_rows:
            raise ValueError(f"{name} has {size} rows, but X has {n_rows}: inconsistent numbers of samples.")
    return n_rows


def _code_confounders(
    estimator: Any, confounders: Any, target_confounders: Any, n_rows: int
) -> tuple[Confounders | None, Confounders | None, pd.DataFrame | None]:
    """Coded confounders of the rows and of the target population, and their frame."""
    if confounders is None:
        return None, None, None
    frame = confounder_frame(confounders, n_rows)
    if frame.shape[1] == 0 and estimator.method != "none":
        raise ValueError('confounders has no columns: pass what moved the outcome, or use method="none".')
    roles = resolve_roles(frame, estimator.categorical, estimator.cyclic, estimator.interactions)
    coded = Confounders.of_fit(frame, roles)
    if target_confounders is None:
        return coded, None, frame
    target_frame = confounder_frame(target_confounders, None, "target_confounders", coded.roles.columns)
    targets = coded.of_new(target_frame, "target_confounders")
    if targets.n == 0:
        raise ValueError("target_confounders has no rows: pass some, or leave it out for the mix of the log itself.")
    refuse_unseen(
        targets, target_frame, "Drop these rows: no row of the log says what happens there.", "target_confounders"
    )
    return coded, targets, frame


def _length(value: Any) -> int | None:
    """Rows of an array, a frame, a list, a dict of columns or anything that turns into an array."""
    if not hasattr(value, "shape") and not hasattr(value, "__len__") and hasattr(value, "__array__"):
        value = np.asarray(value)
    if hasattr(value, "shape"):  # asked before dict: a sparse matrix may be one
        return int(value.shape[0]) if len(value.shape) else None
    if isinstance(value, dict):
        first: Any = next(iter(value.values()), None)
        return len(first) if hasattr(first, "__len__") else None
    return len(value) if hasattr(value, "__len__") else None
