"""What a wheel depends on: the pins of requirements.txt, so that it runs on what the tests ran on.

pyproject.toml cannot refer to a file, and a second list would be forgotten.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = ("oidc", "postgresql", "redis")


class Requirements(MetadataHookInterface):  # type: ignore[misc]  # hatchling is there only during the build
    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = self._pins("requirements.txt")
        metadata["optional-dependencies"] = {extra: self._pins(f"requirements-{extra}.txt") for extra in EXTRAS}

    def _pins(self, file: str) -> list[str]:
        return re.findall(r"^[\w.-]+==\S+", Path(self.root, file).read_text(), re.MULTILINE)
