"""Random numbers of the networks: seeds by key, generators of their own, no leak into the global state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from causalkit.nn.device import import_torch

__all__ = ["derived_seed", "global_seed", "torch_generator"]


def derived_seed(seed: int, *key: int) -> int:
    """Seed of one purpose, independent of those of other keys and of the order in which they are asked for.

    Parameters
    ----------
    seed : int
        Seed of the whole fit, not negative.
    *key : int
        Numbers that name the purpose, such as a stream and an epoch.

    Returns
    -------
    int
        Between 0 and 2**63 - 1.

    Examples
    --------
    >>> from causalkit.nn import derived_seed
    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(0, 2)
    (True, False)
    """
    words = np.random.SeedSequence(entropy=seed, spawn_key=key).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def torch_generator(seed: int, *key: int) -> Any:
    """A ``torch.Generator`` on the CPU, seeded by :func:`derived_seed`.

    Drawing on the CPU and moving the draws keeps the order of rows equal on every device.
    """
    generator = import_torch().Generator(device="cpu")
    generator.manual_seed(derived_seed(seed, *key))
    return generator


@contextmanager
def global_seed(seed: int, device: Any) -> Iterator[None]:
    """Seed torch's global generators inside the block and put their state back afterwards.

    For code that takes no generator: initialisers and dropout of a module from outside. Other threads
    share the global state, so that such modules repeat exactly only if trained one at a time.
    """
    torch = import_torch()
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also seed the devices that are not put back.
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
