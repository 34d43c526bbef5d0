"""The start of the command `keyhook`, as the package `keyhook` of a wheel.

All else of the service lies beside it in that directory. The modules find each other by their names in the checkout,
such as `app` and `keys`, which in site-packages would be in the way of others'.
"""

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from app import create_app
    from cli.command import command

    command(create_app)(prog_name="keyhook")
