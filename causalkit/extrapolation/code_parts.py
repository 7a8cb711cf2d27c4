"""Functions and modules that an estimator uses but a file does not hold, and how they are put back after loading."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

from causalkit.exceptions import MethodNotApplicableError
from causalkit.persistence import load

__all__ = ["CodeElsewhere", "CodeParts"]


@dataclass(frozen=True)
class CodeElsewhere:
    """Stands for code in an estimator from a file: whoever calls it learns what to pass.

    Attributes
    ----------
    name : str
        Parameter that it stands for.
    """

    name: str

    def __call__(self, *arguments: Any) -> NoReturn:
        """Refuse: the code is not here."""
        raise MethodNotApplicableError(
            f"{self.name} is missing: functions and modules are code, and a file holds none. Pass the same {self.name} "
            f"again, as {self.name}= of the load method of the class, or to attach_"
            f"{'modules' if self.name.endswith('module') else self.name}."
        )


class CodeParts:
    """Saving without ``action_features``, ``encoder_module`` and ``decoder_module``, and putting them back."""

    _not_saved: tuple[str, ...] = ()
    _code = ("action_features", "encoder_module", "decoder_module")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        action_features: Callable[[Any], Any] | None = None,
        encoder_module: Any = None,
        decoder_module: Any = None,
    ) -> Self:
        """Read a fitted estimator from a file of :func:`causalkit.save`, with the code that a file cannot hold.

        Parameters
        ----------
        path : str or path-like
            File.
        action_features : callable, optional
            The function of the actions that was fitted with.
        encoder_module, decoder_module : torch.nn.Module, optional
            Modules of the structure that was fitted; their weights come from the file.

        Raises
        ------
        ValueError
            Another class in the file; code that was not there in ``fit``, or of another structure.
        PersistenceError, OSError
            As for :func:`causalkit.load`.
        """
        found = load(path)
        if not isinstance(found, cls):
            raise ValueError(
                f"path must be a file of a {cls.__name__}; {os.fspath(path)} holds a {type(found).__name__}: use "
                "causalkit.load, or the load of that class."
            )
        if action_features is not None:
            found.attach_action_features(action_features)
        if encoder_module is not None or decoder_module is not None:
            found.attach_modules(encoder_module, decoder_module)
        return found

    def attach_modules(self, encoder_module: Any = None, decoder_module: Any = None) -> Self:
        """Put modules of your own back after loading: they are code, so a file holds their weights only.

        Parameters
        ----------
        encoder_module, decoder_module : torch.nn.Module, optional
            Of the structure that was fitted.
        """
        for encoder in self._fitted_encoders():
            network = encoder._network("attach_modules").with_modules(encoder_module, decoder_module)
            encoder._model = replace(encoder._model, network=network)
        given = {"encoder_module": encoder_module, "decoder_module": decoder_module}
        self._put_back({name: module for name, module in given.items() if module is not None})
        return self

    def attach_action_features(self, action_features: Callable[[Any], Any]) -> Self:
        """Put the function of the actions back after loading: it is code, so a file does not hold it.

        Parameters
        ----------
        action_features : callable
            The same as in ``fit``: (n, k) → (n, k').
        """
        if not callable(action_features):
            raise ValueError(f"action_features must be callable; got {type(action_features).__name__}.")
        if self._put_back({"action_features": action_features}) == 0:
            raise ValueError("action_features was None in fit, so that there is nothing to put it to: leave it out.")
        return self

    def _put_back(self, code: dict[str, Any]) -> int:
        """Set parameters that have code, here and in all encoders; how many were found."""
        count = 0
        for holder in {id(one): one for one in (self, *self._code_holders())}.values():
            for name, value in code.items():
                for attribute in (name, f"_{name}"):
                    if getattr(holder, attribute, None) is not None:
                        setattr(holder, attribute, value)
                        count += 1
        return count

    def _fitted_encoders(self) -> list[Any]:
        """Encoders whose networks may have modules."""
        return [self]

    def _code_holders(self) -> list[Any]:
        """Objects inside whose parameters may be code."""
        return []

    def _saved_state(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._not_saved}
        for name in self._code:
            for attribute in (name, f"_{name}"):
                if state.get(attribute) is not None:
                    state[attribute] = CodeElsewhere(name)
        return state
