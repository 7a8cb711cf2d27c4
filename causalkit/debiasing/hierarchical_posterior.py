"""Posterior of the calibration lines of sites by Pyro (optional extra ``bayes``)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import ConvergenceWarning, MissingDependencyError
from causalkit.seeds import root_seed

__all__ = ["SitePosterior", "sample_posterior"]

Array = NDArray[np.float64]

_SVI_STEPS = 2000


@dataclass(frozen=True)
class SitePosterior:
    """Posterior draws in the units of the data.

    Attributes
    ----------
    sites : ndarray, shape (D, S, 2)
        (m, k) of each site.
    mean : ndarray, shape (D, 2)
        μ.
    tau : ndarray, shape (D, 2)
        Standard deviations over sites.
    r_hat : dict
        Gelman-Rubin statistic by parameter; empty for variational inference.
    """

    sites: Array
    mean: Array
    tau: Array
    r_hat: dict[str, float]


def sample_posterior(
    coef: Array,
    cov: Array,
    *,
    unit: float,
    method: str,
    num_samples: int,
    warmup_steps: int,
    n_chains: int,
    device: str | None,
    random_state: Any,
    verbose: int,
) -> SitePosterior:
    """Draw from the posterior of the normal-normal model of site lines.

    The site lines are integrated out, θ̂_s ~ N(μ, V_s + diag(τ²)), so that Pyro samples four parameters
    whatever the number of sites; θ_s is then drawn from its normal conditional given (μ, τ). This is the
    posterior of θ̂_s ~ N(θ_s, V_s), θ_s ~ N(μ, diag(τ²)) (test_posterior_draws_follow_the_joint_model).
    Intercepts are divided by ``unit`` = sd(y) for the priors and multiplied back.
    """
    try:
        import pyro
        import torch
        from pyro import distributions as dist
    except ImportError as error:
        raise MissingDependencyError(
            f'method="{method}" needs Pyro: install the extra `bayes`, for example pip install -e ".[bayes]" ({error}).'
        ) from None

    scale = np.array([1 / unit, 1.0])
    where = torch.device(device or "cpu")
    observed = torch.tensor(coef * scale, dtype=torch.float64, device=where)
    scaled = cov * np.outer(scale, scale)
    noise = torch.tensor(scaled, dtype=torch.float64, device=where)
    prior_mean = torch.tensor([0.0, 0.5], dtype=torch.float64, device=where)
    prior_sd = torch.tensor([1.0, 0.5], dtype=torch.float64, device=where)
    spread_sd = torch.tensor([0.5, 0.25], dtype=torch.float64, device=where)

    def model() -> None:
        mu = pyro.sample("mu", dist.Normal(prior_mean, prior_sd).to_event(1))
        tau = pyro.sample("tau", dist.HalfNormal(spread_sd).to_event(1))
        marginal = dist.MultivariateNormal(mu.expand(observed.shape), noise + torch.diag_embed(tau**2))
        pyro.sample("theta_hat", marginal.to_event(1), obs=observed)

    seed = random_state if isinstance(random_state, int) else root_seed(random_state)
    # The tensors are tiny: a second thread only waits for the first.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draws, r_hat = _run(model, method, seed, num_samples, warmup_steps, n_chains, verbose)
    finally:
        torch.set_num_threads(threads)
    mu, tau = (draws[name].detach().cpu().numpy().astype(np.float64).reshape(-1, 2) for name in ("mu", "tau"))
    theta = _draw_sites(coef * scale, scaled, mu, tau, np.random.default_rng(seed))
    return SitePosterior(theta / scale, mu / scale, tau / scale, r_hat)


def _draw_sites(coef: Array, cov: Array, mu: Array, tau: Array, rng: np.random.Generator) -> Array:
    """Site lines given (μ, τ): normal with mean μ + T(V+T)⁻¹(θ̂ - μ) and covariance T(V+T)⁻¹V, shape (D, S, 2)."""
    spread = np.zeros((len(mu), 2, 2))
    spread[:, range(2), range(2)] = tau**2
    gain = spread[:, None] @ np.linalg.inv(cov[None] + spread[:, None])
    mean = mu[:, None] + np.einsum("dsij,dsj->dsi", gain, coef - mu[:, None])
    posterior = gain @ cov
    values, vectors = np.linalg.eigh((posterior + np.swapaxes(posterior, 2, 3)) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, :, None, :]
    return np.asarray(mean + np.einsum("dsij,dsj->dsi", root, rng.standard_normal(mean.shape)))


def _run(
    model: Any, method: str, seed: int, num_samples: int, warmup_steps: int, n_chains: int, verbose: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Draws and diagnostics, leaving the global random state and parameter store as they were found."""
    import pyro
    import torch

    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        pyro.set_rng_seed(seed)
        if method == "nuts":
            return _run_nuts(model, num_samples, warmup_steps, n_chains, verbose)
        return _run_svi(model, num_samples * n_chains, verbose), {}


def _run_nuts(
    model: Any, num_samples: int, warmup_steps: int, n_chains: int, verbose: int
) -> tuple[dict[str, Any], dict[str, float]]:
    import torch
    from pyro.infer import MCMC, NUTS
    from pyro.ops.stats import gelman_rubin

    chains: list[dict[str, Any]] = []
    for _ in range(n_chains):  # one process: the chains are short, and workers would each import torch
        kernel = NUTS(model, jit_compile=True, ignore_jit_warnings=True, max_tree_depth=8)
        mcmc = MCMC(kernel, num_samples=num_samples, warmup_steps=warmup_steps, disable_progbar=not verbose)
        mcmc.run()
        chains.append(mcmc.get_samples())
    stacked = {name: torch.stack([chain[name] for chain in chains]) for name in chains[0]}
    r_hat: dict[str, float] = {}
    if n_chains > 1 and num_samples > 3:
        for name in ("mu", "tau"):
            values = gelman_rubin(stacked[name], chain_dim=0, sample_dim=1)
            for label, value in zip(("m", "k"), values.tolist(), strict=True):
                r_hat[f"{name}_{label}"] = float(value)
        worst = max(r_hat, key=lambda key: r_hat[key])
        if not r_hat[worst] <= 1.05:
            warnings.warn(
                f"the chains have not mixed: R̂ of {worst} is {r_hat[worst]:.3f}, above 1.05. Raise num_samples and "
                "warmup_steps, or use method='empirical_bayes'.",
                ConvergenceWarning,
                stacklevel=5,
            )
    return stacked, r_hat


def _run_svi(model: Any, num_samples: int, verbose: int) -> dict[str, Any]:
    import torch
    from pyro.infer import SVI, JitTrace_ELBO, Predictive
    from pyro.infer.autoguide import AutoMultivariateNormal
    from pyro.optim import ClippedAdam

    guide = AutoMultivariateNormal(model, init_scale=0.1)  # full rank
    optimiser = ClippedAdam({"lr": 0.03, "lrd": 0.1 ** (1 / _SVI_STEPS)})
    svi = SVI(model, guide, optimiser, JitTrace_ELBO(num_particles=4, ignore_jit_warnings=True))
    for step in range(_SVI_STEPS):
        loss = svi.step()
        if verbose and step % 500 == 0:
            print(f"variational step {step}: loss {loss:.2f}")  # noqa: T201
    with torch.no_grad():
        return dict(Predictive(model, guide=guide, num_samples=num_samples, return_sites=("mu", "tau"))())
