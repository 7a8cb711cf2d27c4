"""Shared parts of the neural estimators: one training loop, blocks, devices, seeds, fitted weights.

Importing this package or one of its modules does not load torch: every function that needs it asks
:func:`causalkit.nn.device.import_torch`, which names the optional extra when torch is missing.
"""

from causalkit.nn.blocks import make_mlp, mlp_outputs
from causalkit.nn.device import import_torch, resolve_device, single_threaded
from causalkit.nn.seeds import derived_seed, global_seed, torch_generator
from causalkit.nn.splits import validation_split
from causalkit.nn.stacked import StackedMLP, fit_stacked_mlp
from causalkit.nn.state import arrays_of_module, load_arrays, module_outputs
from causalkit.nn.training import TrainingOptions, TrainingRecord, train_module

__all__ = [
    "StackedMLP",
    "TrainingOptions",
    "TrainingRecord",
    "arrays_of_module",
    "derived_seed",
    "fit_stacked_mlp",
    "global_seed",
    "import_torch",
    "load_arrays",
    "make_mlp",
    "mlp_outputs",
    "module_outputs",
    "resolve_device",
    "single_threaded",
    "torch_generator",
    "train_module",
    "validation_split",
]
