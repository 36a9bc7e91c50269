"""Warming up compiles every loop, so that no request waits for it."""

from __future__ import annotations

import importlib
import pkgutil

from clinical_backend.acquisition import warm_up
from clinical_backend.acquisition.compiled import loops


def test_every_compiled_loop_has_run():
    warm_up()
    for module in pkgutil.iter_modules(loops.__path__, loops.__name__ + "."):
        names = importlib.import_module(module.name)
        for name in names.__all__:
            loop = getattr(names, name)
            if callable(loop) and hasattr(loop, "signatures"):
                assert loop.signatures, f"{module.name}.{name} was not compiled"
