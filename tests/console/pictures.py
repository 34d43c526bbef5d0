"""`make pictures`: every page at 1280 and 390 pixels, light and dark, to be looked at. No test compares them."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from tests.browser import chromium
from tests.console.furnished import HOUSE, furnish
from tests.servers import SERVE, Server, running


def shots(page: Any, server: Server, ids: dict[str, str]) -> "dict[str, Any]":
    """The pages by name, each a way to get there."""
    key = f"{server.url}/console/keys/{ids['photos-backup']}"

    def create() -> None:
        page.goto(f"{server.url}/console/keys")
        page.get_by_role("link", name="Create key").click()

    def rotate() -> None:
        page.goto(key)
        page.get_by_role("link", name="Rotate").click()

    def secret() -> None:
        page.goto(f"{server.url}/console/keys/{ids['webhook-relay']}/rotate")
        page.get_by_role("button", name="Rotate").click()
        page.get_by_role("button", name="Copy key").click()
        page.get_by_text("nginx", exact=True).click()
        page.get_by_text(".env", exact=True).click()

    def menu() -> None:
        page.goto(f"{server.url}/console/keys")
        page.get_by_role("button", name="Actions for frigate").click()

    addresses = {
        "keys": f"{server.url}/console/keys?sort=-used",
        "nomatch": f"{server.url}/console/keys?q=zzz",
        "key": key,
        "edit": f"{key}/edit",
        "delete": f"{key}/delete",
        "audit": f"{server.url}/console/audit",
        "signin": f"{server.url}/console/sign-in",
        "problem": f"{server.url}/console/nothing",
    }
    ways = {name: (lambda address=address: page.goto(address)) for name, address in addresses.items()}
    return {**ways, "create": create, "rotate": rotate, "secret": secret, "menu": menu}


def main(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        data = Path(directory)
        with running(data / "data", data / "server.log", SERVE) as server:
            ids = furnish(server, HOUSE)
            for width, height in ((1280, 900), (390, 844)):
                for scheme in ("light", "dark"):
                    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                    form, headers = {"token": server.token()}, {"Origin": server.url}
                    context.request.post(f"{server.url}/console/sign-in", form=form, headers=headers)
                    page = context.new_page()
                    for name, go in shots(page, server, ids).items():
                        go()
                        whole = name not in ("create", "rotate", "menu")
                        page.wait_for_timeout(250)
                        page.screenshot(path=place / f"{name}-{width}-{scheme}.png", full_page=whole)
                    context.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", nargs="?", type=Path, default=Path("pictures"), help="the directory they go to")
    main(parser.parse_args().place)
