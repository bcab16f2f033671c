"""The services' manifests: which programs there are."""

import importlib
import re
from itertools import chain

from contracts.manifest import Manifest
from launcher.state import REPOSITORY


def discover() -> dict[str, Manifest]:
    names = sorted(path.parent.name for path in REPOSITORY.glob("services/*/manifest.py"))
    return {name: importlib.import_module(f"services.{name}.manifest").manifest for name in names}


SERVICES = discover()
WITH_POSTGRES = [name for name, manifest in SERVICES.items() if manifest.store == "postgres"]
WITH_MONGO = [name for name, manifest in SERVICES.items() if manifest.store == "mongo"]
WITH_CELERY = [name for name, manifest in SERVICES.items() if manifest.has_celery]

CALLERS = {
    name: sorted(caller for caller, manifest in SERVICES.items() if name in {*chain(*manifest.calls.values())})
    for name in SERVICES
}
"""The services that call each."""

CALLS = {
    **{name: sorted({*chain(*manifest.calls.values())}) for name, manifest in SERVICES.items()},
    **{name: [*SERVICES] for name in ("console", "gateway")},
}
"""The services that each calls, the console and the edge too: nothing else passes where the network tells them apart."""

ROLES = {
    **{f"{service}-{role}": service for service in SERVICES for role in ("web", "sidecar", "worker")},
    **{f"{service}-celery": service for service in WITH_CELERY},
}
"""The service of each of its programs."""


def role_of(program: str) -> str:
    """users-web for users-web-2."""
    return re.sub(r"-\d+$", "", program)
