"""Whether a network reconstructs the features as well as it must, for all methods alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.fitted_autoencoder import FittedAutoencoder

__all__ = ["component_error", "poor_reconstruction"]

Array = NDArray[np.float64]

_MOST_ROWS = 2000
_MARGIN = 0.02
_TOLERANCE = 0.2


def poor_reconstruction(
    network: FittedAutoencoder, training: NDArray[Any], held: NDArray[Any], path: list[dict[str, Any]]
) -> str | None:
    """What is said of a network that loses too much of the features, or None.

    A code that determines the features loses little of them, and a curved one no more than as many principal
    components; a code that collapsed on its prior, or gave way to the penalty, loses more. Two hundredths of the
    variance are allowed on top, for features that are nearly linear in few components.

    Parameters
    ----------
    network : FittedAutoencoder
        Of any method.
    training, held : ndarray, shape (n, ...)
        Features that it was trained on, and others.
    path : list of dict
        Penalties that were compared, with their held-out reconstruction; the first is no penalty.
    """
    remedy = "lower penalty" + (" or prior_weight" if network.method == "variational" else "") + ", or raise max_steps"
    lost, linear = network.reconstruction_error(held), component_error(network, training, held)
    if lost > linear + _MARGIN:
        return (
            f'the reconstruction by method="{network.method}" is poor: {lost:.3g} of the variance of held-out features '
            f"is lost, where {network.n_components} principal component(s) lose {linear:.3g}. A code that loses what "
            f"features show is no injective one: {remedy}."
        )
    chosen = next((float(row["reconstruction"]) for row in path if row["chosen"]), 0.0)
    if path and chosen > (1 + _TOLERANCE) * float(path[0]["reconstruction"]):
        return (
            f'the reconstruction by method="{network.method}" is poor: at the chosen penalty {chosen:.3g} of the '
            f"variance is lost, more than 20 % above the {float(path[0]['reconstruction']):.3g} without a penalty: "
            f"{remedy}."
        )
    return None


def component_error(network: FittedAutoencoder, training: NDArray[Any], held: NDArray[Any]) -> float:
    """Share of the variance that as many principal components lose, in the units of the network's own error."""
    from sklearn.utils.extmath import randomized_svd

    rng = np.random.default_rng(0)

    def some(rows: NDArray[Any]) -> Array:
        index = np.arange(len(rows))
        if len(rows) > _MOST_ROWS:
            index = np.sort(rng.choice(len(rows), _MOST_ROWS, replace=False))
        return np.asarray((np.asarray(rows[index], dtype=float) - network.centre) / network.scale).reshape(
            len(index), -1
        )

    inside, outside = some(training), some(held)
    directions = randomized_svd(inside, network.n_components, random_state=0)[2]
    return float(np.square(outside - outside @ directions.T @ directions).mean())
