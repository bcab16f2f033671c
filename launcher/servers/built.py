"""A server that Go builds from a module, once."""

from pathlib import Path
from typing import ClassVar

from launcher.errors import LaunchError
from launcher.go import Module
from launcher.servers.server import Server


class BuiltServer(Server):
    module: ClassVar[Module]
    package: ClassVar[str]
    """Its main package's path."""

    variable = ""

    def find(self) -> bool:
        try:
            with self.module.built([self.package], self.installation.progress):
                return True
        except LaunchError as error:
            self.installation.progress.report(str(error))
            return False

    @property
    def executable(self) -> Path:
        return self.module.folder / Path(self.package).name
