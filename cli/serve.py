"""`flask serve`: the service under the server for a long-running install."""

import click
from flask import Flask, current_app

from cli import first_key, keys_file
from runtime.state import service
from serving import stopping
from web.contract import MAX_BODY


@click.command("serve")
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", "-p", type=click.IntRange(0, 65535), default=5000, show_default=True)
@click.option("--url-prefix", default="", help="The path that a proxy in front keeps, as in /keys.")
def serve(host: str, port: int, url_prefix: str) -> None:
    """Run the server for a long-running install."""
    from serving.server import Server  # no other command needs it

    app = current_app._get_current_object()  # type: ignore[attr-defined]
    keys_file.apply_at_start(app)
    service().begin()
    try:
        server = Server(app, host, port, largest_body=MAX_BODY, url_prefix=url_prefix, chore=service().tidy)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host} port {port}: {error.strerror}") from None
    stopping.on_signal(app, server.stop)
    mount = f"/{url_prefix.strip('/')}" if url_prefix.strip("/") else ""
    address = first_key.reachable(host, server.port) + mount
    first_key.print_first_steps(app, address)
    click.echo(f"Keyhook listens on http://{address}", err=True)
    stopping.end(app, quiet=server.run())


def install(app: Flask) -> None:
    app.cli.add_command(serve)
