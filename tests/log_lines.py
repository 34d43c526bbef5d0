"""The line of a request in the log."""

import re

LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) INFO (?P<method>\S+) (?P<path>\S+) (?P<status>\d{3}) "
    r"(?P<ms>\d+\.\d)ms who=(?P<who>\S+) id=(?P<id>[A-Za-z0-9._-]+) "
    r"ip=(?P<ip>\S+)( key=(?P<key>[0-9a-f-]{36}))?(?P<reason> reason=.*)?"
)
