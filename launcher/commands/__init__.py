"""The commands of `./souk`, one module per topic; importing the package registers them."""

import importlib
import pkgutil

FIRST = ("lifecycle", "logs", "top", "scaling")
"""What whoever asks for help looks for."""

for each in (*FIRST, *sorted({found.name for found in pkgutil.iter_modules(__path__)} - {*FIRST})):
    importlib.import_module(f"{__name__}.{each}")
