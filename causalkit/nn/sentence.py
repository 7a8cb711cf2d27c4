"""Vectors of texts from a sentence-embedding model in a local folder; nothing is ever looked up on a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MissingDependencyError
from causalkit.nn.device import import_torch, resolve_device
from causalkit.nn.progress import ProgressLine

__all__ = ["SentenceFolder", "read_sentence_folder", "sentence_vectors"]

BACKENDS = ("auto", "sentence-transformers", "transformers")
MAX_TOKENS = 256
_MODULES = ("Transformer", "Pooling", "Normalize")

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class SentenceFolder:
    """What a model's folder says about itself.

    Attributes
    ----------
    path : Path
        The folder.
    width : int
        Length of a vector, p.
    max_tokens : int
        Tokens after which a text is cut, at most 256.
    lower_case : bool
        Whether texts are put into lower case first, whatever the tokeniser does.
    stamp : tuple of int
        Sizes and times of the weight files: a folder that is written anew is another model.
    """

    path: Path
    width: int
    max_tokens: int
    lower_case: bool
    stamp: tuple[int, ...]


def read_sentence_folder(path: Path) -> SentenceFolder:
    """Check that a folder is a transformer with mean pooling, as both ways of running it understand it.

    Parameters
    ----------
    path : Path
        Folder with ``config.json``, a tokeniser and weights in safetensors; ``modules.json`` and the configuration of
        the pooling are read where they are there.

    Returns
    -------
    SentenceFolder

    Raises
    ------
    ValueError
        Not such a folder: the message says what is missing or different.
    """
    if not path.is_dir():
        raise ValueError(
            f"model must be 'minilm' or a local folder; {path} is not a folder. Nothing is downloaded: get the model "
            "by other means and pass the folder that holds its config.json."
        )
    config = _read_json(path / "config.json")
    if not isinstance(config.get("hidden_size"), int):
        raise ValueError(f"{path} must be the folder of a transformer: no config.json with a hidden_size is in it.")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise ValueError(
            f"{path} has no weights in safetensors, the only format that is read, because others may run code: save "
            "the model again with safe_serialization=True."
        )
    _check_modules(path)
    own = _read_json(path / "sentence_bert_config.json")
    limits = (MAX_TOKENS, own.get("max_seq_length"), config.get("max_position_embeddings"))
    stats = [file.stat() for file in weights]
    return SentenceFolder(
        path=path,
        width=int(config["hidden_size"]),
        max_tokens=min(limit for limit in limits if isinstance(limit, int) and limit > 0),
        lower_case=bool(own.get("do_lower_case", False)),
        stamp=tuple(number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)),
    )


def _read_json(path: Path) -> Any:
    """Content of a JSON file; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be a JSON file: {error}. Get the model again.") from None


def _check_modules(path: Path) -> None:
    """Refuse steps after the transformer other than mean pooling and normalisation."""
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in _read_json(path / "modules.json")]
    other = [kind for kind in kinds if kind not in _MODULES]
    pooling = _read_json(path / "1_Pooling" / "config.json")
    # Older folders have one switch per mode, newer ones name the mode.
    modes = pooling.get("pooling_mode") or [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in pooling.items()
        if key.startswith("pooling_mode_") and value
    ]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if other or modes not in ([], ["mean"]):
        found = ", ".join(other) if other else f"pooling by {', '.join(modes)}"
        raise ValueError(
            f"{path} must be a transformer with mean pooling and normalisation; got {found}. Any callable from a list "
            "of texts to an array can be an encoder: pass the encode method of that model instead."
        )


def sentence_vectors(
    folder: SentenceFolder,
    texts: Sequence[str],
    *,
    batch_size: int = 64,
    device: Any = "auto",
    verbose: int = 0,
    backend: str = "auto",
) -> Vectors:
    r"""Vectors of unit length, :math:`v = \bar h/|\bar h|` with the mean :math:`\bar h` of the tokens' last states.

    Parameters
    ----------
    folder : SentenceFolder
        The model.
    texts : sequence of str, length n
        Texts; each is cut after ``folder.max_tokens`` tokens.
    batch_size : int, default=64
        Texts per pass. Texts of similar length share a batch, so that little is padded.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        Where the model runs.
    verbose : int, default=0
        1 shows a progress line.
    backend : {"auto", "sentence-transformers", "transformers"}, default="auto"
        Which package runs the model; "auto" takes the first one that is installed. Both give the same numbers up to
        rounding.

    Returns
    -------
    ndarray of float32, shape (n, p)

    Raises
    ------
    MissingDependencyError
        If torch, or the package that is to run the model, is not installed.
    """
    found = resolve_device(device)
    if backend == "auto":
        backend = "sentence-transformers" if find_spec("sentence_transformers") else "transformers"
    vectors = np.empty((len(texts), folder.width), dtype=np.float32)
    if not len(texts):
        return vectors
    encode = _load(folder, str(found), backend)
    if folder.lower_case:
        texts = [text.lower() for text in texts]
    # Stable, and longest first: a batch that does not fit into memory fails at once and not at the end.
    order = np.argsort([-len(text) for text in texts], kind="stable")
    starts = range(0, len(order), batch_size)
    with ProgressLine("sentence vectors", len(starts), verbose) as progress:
        for done, start in enumerate(starts, start=1):
            rows = order[start : start + batch_size]
            vectors[rows] = encode([texts[row] for row in rows])
            progress.update(done)
    return vectors


# The model is kept here and not by the object that uses it, which then is small, and can be copied and saved.
@lru_cache(maxsize=2)
def _load(folder: SentenceFolder, device: str, backend: str) -> Callable[[list[str]], Vectors]:
    """Load the model; returns a function from a batch of texts to their vectors."""
    if backend == "sentence-transformers":
        return _load_sentence_transformers(folder, device)
    return _load_transformers(folder, device)


def _load_sentence_transformers(folder: SentenceFolder, device: str) -> Callable[[list[str]], Vectors]:
    package = _import("sentence_transformers")
    with _quiet():
        model = package.SentenceTransformer(
            str(folder.path), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
        )
    model = model.float().eval()
    model.max_seq_length = folder.max_tokens

    def encode(texts: list[str]) -> Vectors:
        # An empty prompt, because a folder may name one to put in front of every text.
        vectors = model.encode(
            texts,
            prompt="",
            batch_size=len(texts),
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    return encode


def _load_transformers(folder: SentenceFolder, device: str) -> Callable[[list[str]], Vectors]:
    torch = import_torch()
    package = _import("transformers")
    with _quiet():
        tokenizer = package.AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True)
        model = package.AutoModel.from_pretrained(str(folder.path), local_files_only=True, use_safetensors=True)
    model = model.float().eval().to(device)

    def encode(texts: list[str]) -> Vectors:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=folder.max_tokens, return_tensors="pt")
        batch = batch.to(device)
        with torch.inference_mode():
            states = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None].to(states.dtype)
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1e-9)
            vectors = torch.nn.functional.normalize(mean, dim=1)
        return np.asarray(vectors.cpu().numpy(), dtype=np.float32)

    return encode


def _import(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"sentence vectors need {name.replace('_', '-')}, which is not installed ({error}): "
            "pip install -e '.[text]'."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a progress bar of its own while it reads weights."""
    logging = _import("transformers").utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
