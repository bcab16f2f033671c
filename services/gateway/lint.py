"""Whether a rendered file is one that the gateway can execute: every fault with its line, without running anything."""

from services.gateway import configuration
from services.gateway.edge import Edge
from services.gateway.faults import Fault, InvalidConfiguration


def faults_of(text: str) -> list[Fault]:
    """None for a file that is right; ordered by line. `str(fault)` is a sentence for a person."""
    try:
        Edge(configuration.load(text))
    except InvalidConfiguration as invalid:
        return list(invalid.faults)
    return []
