r"""Autoencoder with a normal prior of the code whose mean is linear in the action, in Pyro.

.. math:: z \sim N(Wa + b, \Sigma), \quad x \sim N(g(z), s^2I), \qquad q(z\mid x) = N(\phi(x), \mathrm{diag})

The divergence of q from the prior is the likelihood version of linear invariance. It asks for more than the moment
restriction, as it takes the noise of the code to be normal with one covariance. Variational autoencoders whose prior
depends on an observed variable are due to Khemakhem, Kingma, Monti and Hyvärinen (2020); the linear mean is ours.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MissingDependencyError
from causalkit.extrapolation.autoencoder_data import Batch, squared_error
from causalkit.extrapolation.autoencoder_training import Parts, PlainObjective
from causalkit.nn import import_torch

__all__ = ["LinearPriorObjective", "import_pyro"]

_SMALLEST_SD = 1e-3  # of reconstruction, in units of the features' one standard deviation
_SMALLEST_SHARE = 1e-6  # Pyro refuses a divergence of weight zero


def import_pyro() -> Any:
    """Return the pyro module, imported on first use.

    Raises
    ------
    MissingDependencyError
        If Pyro is not installed.
    """
    try:
        import pyro
    except ImportError as error:
        raise MissingDependencyError(
            "method=\"linear_prior\" needs Pyro, which is not installed: pip install -e '.[bayes]'."
        ) from error
    return pyro


class LinearPriorObjective(PlainObjective):
    r"""Negative evidence bound per entry, with the divergence from the prior ramped like the penalty.

    The parameters of the prior and s are trained with the two modules. Nothing enters Pyro's parameter store, so that
    a fit neither reads nor leaves anything there.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        On the device; the encoder gives (b, 2d), or (b, d) beside ``log_sd``.
    n_components, n_actions : int
        d and k.
    log_sd : torch.Tensor, shape (d,), optional
        log of the posterior's standard deviation, for all rows alike.
    device : torch.device
        Where the prior's parameters are.
    """

    def __init__(
        self, encoder: Any, decoder: Any, n_components: int, n_actions: int, *, log_sd: Any = None, device: Any
    ) -> None:
        super().__init__(encoder, decoder, n_components, log_sd=log_sd)
        self.pyro = import_pyro()
        torch = import_torch()
        d = n_components

        def parameter(*shape: int) -> Any:
            return torch.zeros(shape, device=device, requires_grad=True)

        self.matrix, self.intercept = parameter(d, n_actions), parameter(d)
        self.log_diagonal, self.below = parameter(d), parameter(d, d)
        self.log_noise = parameter()

    def own_parameters(self) -> list[Any]:
        """What is trained besides both modules: the prior and s."""
        prior = [self.matrix, self.intercept, self.log_diagonal, self.below, self.log_noise]
        return [*super().own_parameters(), *prior]

    def root(self) -> Any:
        """Cholesky factor of Σ, shape (d, d)."""
        return self.below.tril(-1) + self.log_diagonal.exp().diag_embed()

    def prior(self) -> dict[str, NDArray[Any]]:
        """Fitted prior and s as arrays."""
        root = self.root().detach().cpu().double().numpy()
        return {
            "action_matrix": self.matrix.detach().cpu().double().numpy(),
            "intercept": self.intercept.detach().cpu().double().numpy(),
            "covariance": root @ root.T,
            "noise_scale": np.array(_SMALLEST_SD + math.exp(float(self.log_noise.detach()))),
        }

    def __call__(self, batch: Batch, share: float, generator: Any) -> Parts:
        """Code, reconstruction error of a drawn code, and the negative evidence bound per entry."""
        from pyro.infer import TraceMeanField_ELBO

        kept: dict[str, Any] = {}
        bound = TraceMeanField_ELBO().differentiable_loss(self._model, self._guide, batch, share, kept)
        entries = batch.x[0].numel() * len(batch.x)
        return kept["phi"], kept["reconstruction"], bound / entries

    def _model(self, batch: Batch, share: float, kept: dict[str, Any]) -> None:
        pyro, poutine, dist = self.pyro, self.pyro.poutine, self.pyro.distributions
        with self._rows(batch):
            with poutine.scale(scale=max(share, _SMALLEST_SHARE)):
                mean = batch.actions @ self.matrix.T + self.intercept
                z = pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=self.root()))
            decoded = self.decoder(z)
            kept["reconstruction"] = squared_error(batch, decoded)
            noise = _SMALLEST_SD + self.log_noise.exp()
            pyro.sample("x", dist.Normal(decoded.flatten(1), noise).to_event(1), obs=batch.x.flatten(1))

    def _guide(self, batch: Batch, share: float, kept: dict[str, Any]) -> None:
        pyro, poutine, dist = self.pyro, self.pyro.poutine, self.pyro.distributions
        phi, log_sd = self.posterior(batch.x)
        kept["phi"] = phi
        with self._rows(batch), poutine.scale(scale=max(share, _SMALLEST_SHARE)):
            pyro.sample("z", dist.Normal(phi, log_sd.exp()).to_event(1))

    def _rows(self, batch: Batch) -> ExitStack:
        """Independent rows, counted by their weights."""
        rows = ExitStack()
        if batch.weight is not None:
            rows.enter_context(self.pyro.poutine.scale(scale=batch.weight))
        rows.enter_context(self.pyro.plate("rows", len(batch.x)))
        return rows
