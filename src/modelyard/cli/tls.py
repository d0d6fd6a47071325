"""``modelyard tls ...``: certificates for this machine, what is in one, and what bearers of them may."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.cli.errors import FAILED
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.errors import InvalidName
from modelyard.core.settings import Settings


@click.group("tls")
def command() -> None:
    """Certificates: make them for this machine, show them, and say what callers may who have one."""


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--client", metavar="NAME", help="Make one that a caller shows instead: uri:... or a host's name.")
@with_screen
def dev(screen: Screen, settings: Settings, names: tuple[str, ...], client: str | None) -> None:
    """Make an authority of this machine, and a certificate for localhost and for each NAME (a host or an address).

    \b
    modelyard tls dev                                  then: modelyard serve --tls dev
    modelyard tls dev model.example.org 10.0.0.5
    modelyard tls dev --client uri:spiffe://example.org/scorer

    Clients that trust the authority trust this server; with -q, its file is all that is printed. Its key stays in the
    home. A server that runs takes the new certificate up by itself.
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import tls  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    if client is not None and names:
        raise click.UsageError("give names of this machine, or --client NAME")
    home = open_home(settings)
    made = tls.make(home, names) if client is None else tls.make_client(home, client)
    shown = tls.show(made.cert)
    screen.say("Certificate", f"{made.cert} for {', '.join(shown.names)}, {shown.days_left} days")
    screen.say("Key", str(made.key))
    screen.say("Authority", str(made.ca))
    if client is None:
        screen.next("modelyard serve --tls dev", f"curl --cacert {made.ca} https://localhost:8080/v2")
    document = {"cert": str(made.cert), "key": str(made.key), "ca": str(made.ca), "names": list(shown.names)}
    screen.show({**document, "ends": shown.ends.isoformat()}, str(made.ca) if screen.quiet else None)


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@with_screen
def show(screen: Screen, settings: Settings, file: Path | None) -> int:
    """Show the certificate in FILE, or the one that tls dev has made; the exit code is 1 when it has ended."""
    from modelyard.control.actions import tls  # noqa: PLC0415 - imported when called

    shown = tls.show(file or settings.tls / "cert.pem")
    left = f"{shown.days_left} days left" if shown.days_left >= 0 else "it has ended"
    lines = [
        f"Subject    {shown.subject}",
        f"Issuer     {shown.issuer}",
        f"Names      {', '.join(shown.names) or 'none'}",
        f"Valid      {shown.begins:%Y-%m-%d} to {shown.ends:%Y-%m-%d %H:%M} UTC, {left}",
        f"SHA-256    {shown.digest}",
    ]
    document = {"subject": shown.subject, "issuer": shown.issuer, "names": list(shown.names), "sha256": shown.digest}
    times = {"begins": shown.begins.isoformat(), "ends": shown.ends.isoformat(), "days_left": shown.days_left}
    screen.show({**document, **times}, "\n".join(lines))
    return FAILED if shown.days_left < 0 else 0


@command.command()
@click.argument("name")
@click.argument("rights", metavar="ROLE[:MODELS]")
@with_screen
def allow(screen: Screen, settings: Settings, name: str, rights: str) -> None:
    """Let callers do something who show a certificate for NAME: uri:... or dns:..., as tls show writes it.

    \b
    modelyard tls allow uri:spiffe://example.org/scorer predictor:fraud-*
    """  # noqa: D301 - click's own mark, which a raw string would print
    from modelyard.control.actions import tls  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
    from modelyard.guard.certificates import Bearer  # noqa: PLC0415 - as above
    from modelyard.guard.rights import parse_rights  # noqa: PLC0415 - as above

    given = parse_rights(rights)
    try:
        bearer = Bearer(name=name, role=given.role, models=given.models)
    except ValueError as exc:
        cause = "uri:... or dns:..., without *"
        raise InvalidName(name=name[:80], what="a bearer", suggestion="dns:scorer.example.org", cause=cause) from exc
    tls.allow(open_home(settings), bearer)
    screen.say("Allowed", f"{name} is {bearer.role} for {bearer.models}")
    screen.show({"name": name, "role": str(bearer.role), "models": bearer.models})


@command.command()
@click.argument("name")
@with_screen
def refuse(screen: Screen, settings: Settings, name: str) -> None:
    """Let callers do nothing any more who show a certificate for NAME."""
    from modelyard.control.actions import tls  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    tls.refuse(open_home(settings), name)
    screen.say("Refused", name)
    screen.show({"refused": name})


@command.command()
@with_screen
def names(screen: Screen, settings: Settings) -> None:
    """List the names in certificates that are allowed something."""
    from modelyard.control.actions import tls  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    known = tls.bearers(open_home(settings))
    rows = [[one.name, str(one.role), one.models] for one in known]
    text = screen.table(("NAME", "ROLE", "MODELS"), rows) if rows else "No certificate is allowed anything."
    screen.show([{"name": one.name, "role": str(one.role), "models": one.models} for one in known], text)
