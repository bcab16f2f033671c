"""The commands of `./souk`, one module per topic; importing the package registers them."""

import importlib
import pkgutil

for each in sorted(found.name for found in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{each}")
