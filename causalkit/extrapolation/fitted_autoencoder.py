"""A fitted autoencoder: codes and features from weights in numpy, or from modules of the user."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.autoencoder_networks import (
    block_rows,
    check_outputs,
    leaky_outputs,
    leaky_perceptron,
    user_outputs,
)
from causalkit.nn import import_torch, load_arrays, resolve_device, torch_generator

__all__ = ["FittedAutoencoder"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedAutoencoder:
    """A fitted encoder and decoder.

    Attributes
    ----------
    method : str
        As in the plan.
    n_components : int
        d.
    centre : ndarray, shape of a row of features
        Mean of each entry of the features.
    scale : float
        Their one standard deviation, over all rows and entries.
    encoder_weights, decoder_weights : dict of str to ndarray
        Weights by name: of the perceptrons, evaluated in numpy, or the state of the modules.
    encoder_module, decoder_module : torch.nn.Module or None
        Copies of the user's modules, trained; None for perceptrons. They are not saved: see :meth:`with_modules`.
    own_modules : tuple of bool
        Whether encoder and decoder are modules of the user.
    history : list of dict
        Means over a hundredth of the steps each: step, reconstruction (in units of the variance), q_b, weight.
    unbiased : bool
        Whether the penalty took two batches in each step, because batches were small for it.
    settled : bool
        Whether the loss had fallen by less than 10 % from the last but one to the last tenth of the steps.
    prior : dict of str to ndarray
        Of "linear_prior", in units of the standardised actions: ``action_matrix`` (d, k), ``intercept`` (d,),
        ``covariance`` (d, d), ``noise_scale`` (); else empty.
    device : str
        Where it was trained; modules of the user are evaluated there too.
    """

    method: str
    n_components: int
    centre: Array
    scale: float
    encoder_weights: dict[str, NDArray[Any]]
    decoder_weights: dict[str, NDArray[Any]]
    encoder_module: Any
    decoder_module: Any
    own_modules: tuple[bool, bool]
    history: list[dict[str, float]]
    unbiased: bool
    settled: bool
    prior: dict[str, NDArray[Any]]
    device: str

    def encode(self, X: NDArray[Any]) -> Array:
        """Code φ(X) of features of shape (n, ...), shape (n, d)."""
        self._check_features(X)
        step = block_rows(X.shape[1:])
        blocks = [self._encode_block(X[a : a + step], a) for a in range(0, len(X), step)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_components))

    def decode(self, phi: Array) -> Array:
        """Features of codes of shape (n, d), in the units of the features, shape (n, ...)."""
        if phi.ndim != 2 or phi.shape[1] != self.n_components:
            raise ValueError(f"codes must have shape (n, {self.n_components}); got {phi.shape}.")
        if self.own_modules[1]:
            module, where = self._attached(1), resolve_device(self.device)
            scaled = user_outputs(module, phi, where, "decoder_module", self.centre.shape)
        else:
            scaled = check_outputs(leaky_outputs(self.decoder_weights, phi), "the decoder")
        return self.centre + self.scale * scaled.reshape(len(phi), *self.centre.shape)

    def row_errors(self, X: NDArray[Any]) -> Array:
        """Mean squared error of each row's reconstruction, in units of the variance of the fit's rows, shape (n,)."""
        self._check_features(X)
        step = block_rows(X.shape[1:])
        errors = np.empty(len(X))
        for a in range(0, len(X), step):
            block = np.asarray(X[a : a + step], dtype=float)
            gap = (block - self.decode(self.encode(block))) / self.scale
            errors[a : a + step] = np.square(gap).reshape(len(block), -1).mean(axis=1)
        return errors

    def reconstruction_error(self, X: NDArray[Any], sample_weight: Array | None = None) -> float:
        """Share of the variance that is not reconstructed: the mean of :meth:`row_errors`."""
        return float(np.average(self.row_errors(X), weights=sample_weight))

    @property
    def module(self) -> Any:
        """The encoder as a torch module; rebuilt from its weights if it is a perceptron."""
        return self._attached(0) if self.own_modules[0] else _rebuilt(self.encoder_weights)

    @property
    def decoder(self) -> Any:
        """The decoder as a torch module; rebuilt from its weights if it is a perceptron."""
        return self._attached(1) if self.own_modules[1] else _rebuilt(self.decoder_weights)

    def with_modules(self, encoder_module: Any = None, decoder_module: Any = None) -> FittedAutoencoder:
        """The same fit with modules of the user put back in after loading; their weights come from the fit.

        Parameters
        ----------
        encoder_module, decoder_module : torch.nn.Module, optional
            Of the structure that was fitted.

        Returns
        -------
        FittedAutoencoder

        Raises
        ------
        ValueError
            A module where the fit had a perceptron, or of another structure.
        """
        torch = import_torch()
        given = {"encoder_module": encoder_module, "decoder_module": decoder_module}
        states = (self.encoder_weights, self.decoder_weights)
        found: dict[str, Any] = {}
        for (name, module), own, state in zip(given.items(), self.own_modules, states, strict=True):
            if module is None:
                continue
            if not own:
                raise ValueError(f"{name} was None in fit, so that there is nothing to put it to: leave it out.")
            if not isinstance(module, torch.nn.Module):
                raise ValueError(f"{name} must be a torch.nn.Module; got {type(module).__name__}.")
            found[name] = load_arrays(copy.deepcopy(module).cpu(), state).eval()
        return replace(self, **found)

    def _saved_state(self) -> dict[str, Any]:
        # Modules of the user are code; their weights are kept.
        return {**vars(self), "encoder_module": None, "decoder_module": None}

    def _attached(self, which: int) -> Any:
        name = ("encoder_module", "decoder_module")[which]
        module = getattr(self, name)
        if module is None:
            raise ValueError(
                f"{name} is missing: modules of one's own are code and are not saved. Pass the same {name} again when "
                "loading."
            )
        return module

    def _check_features(self, X: NDArray[Any]) -> None:
        if X.shape[1:] != self.centre.shape:
            raise ValueError(
                f"X must have rows of shape {self.centre.shape} as in fit; got {X.shape[1:]} (X has shape {X.shape})."
            )

    def _encode_block(self, X: NDArray[Any], first_row: int) -> Array:
        scaled = (np.asarray(X, dtype=float) - self.centre) / self.scale
        if self.own_modules[0]:
            module, where = self._attached(0), resolve_device(self.device)
            return user_outputs(module, scaled, where, "encoder_module", (self.n_components,))
        return check_outputs(leaky_outputs(self.encoder_weights, scaled), "the encoder", first_row)


def _rebuilt(weights: dict[str, NDArray[Any]]) -> Any:
    layers = sorted({int(name.partition(".")[0]) for name in weights})
    sizes = [weights[f"{layers[0]}.weight"].shape[1], *(len(weights[f"{layer}.bias"]) for layer in layers)]
    return load_arrays(leaky_perceptron(sizes, torch_generator(0)), weights).eval()
