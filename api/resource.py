"""The blueprint of a resource, and the tags under which the API document shows resources."""

from enum import Enum

from flask import Blueprint


class Tag(Enum):
    """A tag by its description."""

    KEYS = "Mint, show, change, rotate and delete API keys."
    GATE = "Ask whether a credential is good: for reverse proxies and resource servers."
    AUDIT = "What was done to the keys, by whom."
    SERVICE = "The service itself."

    @property
    def label(self) -> str:
        return self.name.lower()


class Resource(Blueprint):
    """A blueprint with the tag of its views. The document cannot show the views of a plain one."""

    def __init__(self, name: str, import_name: str, tag: Tag) -> None:
        super().__init__(name, import_name)
        self.tag = tag
