"""A page as a strict reader finds it: every tag closed, every id once, every control with a name."""

import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "input", "br", "hr", "img"}
CONTROLS = {"input", "select", "textarea"}
BLOCKS = {"p", "li", "div", "dt", "dd", "summary", "td", "th", "h1", "h2", "legend", "label", "button"}


class Element:
    def __init__(self, tag: str, attributes: dict[str, str], parent: "Element | None") -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.text = ""

    def within(self, tag: str) -> "Element | None":
        found = self.parent
        while found is not None and found.tag != tag:
            found = found.parent
        return found


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.faults.append(f"an attribute twice: {self.get_starttag_text()}")
        element = Element(tag, {name: value or "" for name, value in attrs}, self.open[-1] if self.open else None)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1].tag != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1].tag if self.open else 'nothing'}")
        else:
            self.open.pop()
        if tag in BLOCKS:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


class Page:
    """An answer of the console."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status: int = response.status_code
        self.headers = response.headers
        self.html: str = response.get_data(as_text=True)
        self._reader: Reader | None = None

    @property
    def location(self) -> str:
        return str(self.headers.get("Location", ""))

    @property
    def reader(self) -> Reader:
        if self._reader is None:
            self._reader = Reader()
            self._reader.feed(self.html)
            self._reader.close()
        return self._reader

    @property
    def words(self) -> str:
        """The text of the page's own part, as one line."""
        [main] = self.all("main")
        return re.sub(r"\s+", " ", main.text).strip()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [
            element
            for element in self.reader.elements
            if element.tag == tag and all(element.attributes.get(name) == value for name, value in attributes.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        [found] = self.all(tag, **attributes)
        return found

    def form(self, action: str) -> tuple[str, dict[str, Any]]:
        """The form that is sent there, with what a browser would send of it untouched."""
        [form] = [
            element
            for element in self.all("form")
            if element.attributes.get("action", "").startswith(action) and element.attributes.get("method") == "post"
        ]
        fields: dict[str, Any] = {}
        for element in self.all("input"):
            if element.within("form") is not form:
                continue
            kind, name = element.attributes.get("type", ""), element.attributes.get("name", "")
            if kind in ("radio", "checkbox") and "checked" not in element.attributes:
                continue
            value = element.attributes.get("value", "")
            fields[name] = [*fields.get(name, []), value] if kind == "checkbox" else value
        return form.attributes["action"], fields

    def secret(self) -> str:
        return self.one("output").text

    def faults(self) -> list[str]:
        """What a strict reader finds wrong."""
        reader = self.reader
        found = [*reader.faults, *(f"<{element.tag}> is not closed" for element in reader.open)]
        ids = [element.attributes["id"] for element in reader.elements if "id" in element.attributes]
        found += [f"id twice: {name}" for name in set(ids) if ids.count(name) > 1]
        for element in reader.elements:
            found += list(_faults(element, set(ids), reader.elements))
        if len(self.all("h1")) != 1:
            found.append("not one h1")
        return found


def _faults(element: Element, ids: set[str], elements: list[Element]) -> list[str]:
    given, found = element.attributes, []
    for name in given:
        if name == "style" or name.startswith("on"):
            found.append(f"{name}= in <{element.tag}>")
    for name in ("for", "aria-describedby", "aria-labelledby", "popovertarget", "data-copy", "data-dialog"):
        found += [f"{name}: no {target}" for target in given.get(name, "").split() if target not in ids]
    if element.tag in ("script", "style") and element.text.strip():
        found.append(f"<{element.tag}> with a text")
    if element.tag in ("a", "button") and not (element.text.strip() or given.get("aria-label")):
        found.append(f"<{element.tag}> without a name")
    if element.tag in CONTROLS and given.get("type") != "hidden" and not _has_label(element, elements):
        found.append(f"no label: {given}")
    return found


def _has_label(element: Element, elements: list[Element]) -> bool:
    if element.within("label") is not None:
        return True
    own = element.attributes.get("id")
    return any(other.tag == "label" and other.attributes.get("for") == own for other in elements)
