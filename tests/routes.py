"""The routes of thousands of applications, which are all alike."""

from collections.abc import Callable, Hashable
from typing import Any

from werkzeug.routing import Rule


def compile_once() -> None:
    """Has Werkzeug write the code that builds a rule's addresses once, and not for each application anew.

    It depends on the rule alone, and was more than half of what making an application costs.
    """
    write: Callable[..., Any] = Rule._compile_builder
    written: dict[Hashable, Any] = {}

    def remembered(rule: Rule, append_unknown: bool = True) -> Any:
        if rule.defaults:
            return write(rule, append_unknown)
        what = (tuple(rule._trace), frozenset(rule.arguments), append_unknown)
        if what not in written:
            written[what] = write(rule, append_unknown)
        return written[what]

    setattr(Rule, "_compile_builder", remembered)  # noqa: B010  (types know no method that is replaced)
