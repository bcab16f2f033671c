"""The commands of `./souk`, one module a topic. Importing this package registers them all."""

import importlib
import pkgutil

for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{module}")
