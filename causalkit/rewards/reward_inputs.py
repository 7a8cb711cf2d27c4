"""What a reward function is handed: completions as strings or messages, and texts to encode in batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.reading import encode

__all__ = ["completion_text", "encode_batches", "prompt_text", "texts_of"]


def completion_text(item: Any, index: int, name: str = "completions") -> str:
    """Text of one completion: itself, or what the assistant says in a list of messages.

    Raises
    ------
    TypeError
        Neither a string nor a list of messages; the index and the type are named.
    """
    return item if isinstance(item, str) else _joined(item, index, name, assistant_only=True)


def prompt_text(item: Any, index: int) -> str:
    """Text of one prompt: itself, or the contents of all its messages."""
    return item if isinstance(item, str) else _joined(item, index, "prompts", assistant_only=False)


def texts_of(completions: list[Any], prompts: Sequence[Any] | None) -> list[str | None]:
    """Text of each completion, with its prompt in front where ``prompts`` is given; None for a blank completion.

    Strings are put together as they are, as they were generated; messages are separated by a line break.
    """
    texts: list[str | None] = []
    for k, item in enumerate(completions):
        text: str = completion_text(item, k)
        if not text.strip():
            texts.append(None)
        elif prompts is None:
            texts.append(text)
        else:
            separator = "" if isinstance(item, str) and isinstance(prompts[k], str) else "\n"
            texts.append(prompt_text(prompts[k], k) + separator + text)
    return texts


def _joined(item: Any, index: int, name: str, *, assistant_only: bool) -> str:
    if not isinstance(item, list | tuple):
        raise TypeError(
            f"{name}[{index}] is {type(item).__name__}: expected a string, or a list of messages with role and content."
        )
    contents = []
    for message in item:
        if not isinstance(message, dict) or "content" not in message:
            raise TypeError(
                f"{name}[{index}] holds {type(message).__name__} without content: expected messages, that is dicts "
                "with role and content."
            )
        if not assistant_only or message.get("role") == "assistant":
            contents.append(_content(message["content"], index, name))
    return "\n".join(text for text in contents if text)


def _content(content: Any, index: int, name: str) -> str:
    """A message's content: a string, nothing (a tool call), or parts of which those with a text count."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list | tuple):
        parts = [
            part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None for part in content
        ]
        return "\n".join(part for part in parts if part)
    raise TypeError(
        f"{name}[{index}] has a message with {type(content).__name__} as content: expected a string or a list of parts."
    )


def encode_batches(encoder: Any, texts: list[str], batch_size: int) -> NDArray[np.floating]:
    """Features of the texts, shape (n, p), encoded ``batch_size`` at a time in inference mode.

    Raises
    ------
    ValueError
        The encoder returns another shape, or NaN or infinity.
    """
    blocks = []
    with _inference_mode(encoder):
        for first in range(0, len(texts), batch_size):
            blocks.append(encode(_ToArray(encoder), texts[first : first + batch_size]))
    return np.concatenate(blocks)


class _ToArray:
    """The encoder as a function whose tensors come as arrays."""

    def __init__(self, encoder: Any) -> None:
        self.call = encoder.transform if hasattr(encoder, "transform") else encoder

    def __call__(self, texts: list[str]) -> Any:
        output = self.call(texts)
        return output.detach().cpu().numpy() if hasattr(output, "detach") else output


@contextmanager
def _inference_mode(encoder: Any) -> Iterator[None]:
    """Dropout off and no gradients while a torch module encodes; its mode is put back afterwards."""
    with ExitStack() as stack:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(encoder, torch.nn.Module):
            stack.callback(encoder.train, encoder.training)
            encoder.eval()
            stack.enter_context(torch.inference_mode())
        yield
