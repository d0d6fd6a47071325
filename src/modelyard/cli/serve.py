"""``modelyard serve [MODEL...]``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from modelyard.cli._folders import with_folders
from modelyard.cli._hosts import read_hosts
from modelyard.cli._tls import tls_files, tls_options
from modelyard.cli.main import AHEAD
from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.errors import MissingExtra
from modelyard.core.settings import Settings
from modelyard.core.trust import Policy
from modelyard.serve import platforms
from modelyard.serve.platforms import Told
from modelyard.serve.sockets import is_loopback
from modelyard.serve.tickets import MODES

if TYPE_CHECKING:
    from modelyard.core.plan import Tuning
    from modelyard.serve.supervisor import Options

_MIB = 1024 * 1024
_TOLD = {"port": "port", "workers": "workers", "max_body_mb": "body_mb"}  # flags that a platform may set
_LAST_PORT = 65535
_PLATFORMS = {
    "sagemaker": ("SageMaker", "/invocations"),
    "azureml": ("Azure ML", "/score"),
    "vertex": ("Vertex  ", "/v1/endpoints/ENDPOINT/deployedModels/MODEL:predict, or AIP_PREDICT_ROUTE"),
}
_NO_GRPC = 'off; to turn it on: pip install "modelyard[grpc]"'


def _workers(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """How many: a number, or ``auto`` for one on each core that this process may use."""
    most = 256
    if value == "auto":
        from modelyard.serve.supervisor import cores  # noqa: PLC0415 - imported when called

        return min(cores(), most)
    number: int = click.IntRange(1, most)(value, param, ctx)
    return number


@click.command("serve")
@click.argument("models", nargs=-1, metavar="[MODEL|DIR]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Port of gRPC.  [default: the one after --port]")
@click.option("--no-grpc", is_flag=True, help="HTTP only.")
@click.option(
    "--auth",
    type=click.Choice(("none", "keys")),
    help="Whether callers need a key.  [default: keys, but none where only this machine can call]",
)
@click.option(
    "--allow-host",
    multiple=True,
    callback=read_hosts,
    metavar="NAME",
    help="A name that callers use for this server, such as api.example.com or *.example.com.  [default: with keys,"
    " any; without, this machine's own]",
)
@tls_options
@click.option("--behind-tls-proxy", is_flag=True, help="A proxy in front encrypts what goes over the network.")
@click.option(
    "--trusted-network",
    is_flag=True,
    help="Only callers that may ask can reach it: no key and no TLS is needed, whatever --host is.",
)
@click.option(
    "--access",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with keys.json and peppers of another installation, whose keys count here.",
)
@click.option(
    "--contracts",
    metavar="A,B",
    help="What to speak: names of docs/contracts.md, usual, all.  [default: usual, and the platform's own]",
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    callback=_workers,
    metavar="N|auto",
    help="Worker processes; auto: one a core.",
)
@click.option("--plan", type=click.Path(path_type=Path), help="Serve this plan file instead of the registry.")
@click.option(
    "--bundles",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Serve the exported bundles in this folder instead of the registry.",
)
@click.option("--name", default="", help="What to call the model of --bundles, where there is one.  [default: its own]")
@click.option("--max-body-mb", default=16, show_default=True, type=click.IntRange(1, 2048), help="Largest body.")
@click.option(
    "--tune",
    multiple=True,
    metavar="[MODEL:]KEY=VALUE",
    help="Run one model, or all, in another way than is measured; once for each key of docs/serving.md.",
)
@click.option(
    "--signatures",
    type=click.Choice([str(policy) for policy in Policy]),
    default="off",
    show_default=True,
    help="enforce: serve only versions whose signature counts, see modelyard trust; warn: say which have none.",
)
@click.option(
    "--repository",
    type=click.Choice(MODES),
    default="none",
    show_default=True,
    help="explicit: start with MODEL only; callers load and unload models of the registry.",
)
@click.option("--drain-delay", default=5.0, show_default=True, help="Seconds of new requests after SIGTERM.")
@click.option("--grace", default=30.0, show_default=True, help="Seconds for requests under way when stopping.")
@with_screen
def command(screen: Screen, settings: Settings, models: tuple[str, ...], plan: Path | None, **flags: Any) -> None:
    """Serve models over HTTP, in the words of other servers' clients too, and over gRPC.

    \b
    modelyard serve                      every model of the registry
    modelyard serve churn price@3        these two, price fixed to version 3
    modelyard serve --workers 2          on two cores
    modelyard serve --tune queue_s=0.5   nobody waits for a model longer than half a second
    modelyard serve ./models             all models of another server's folder, as its settings say
    modelyard serve --bundles ./exported  exported bundles, as they lie there

    MODEL is name (its production alias, else the latest version), name@2 or name@alias. New versions and moved
    aliases go live while it runs. DIR is a folder as for import; what is in it is imported first, and served at
    exactly these versions, on the ports that its settings.json or MLSERVER_* variables name.
    """  # noqa: D301 - click's own mark, which a raw string would print
    os.umask(0o077)  # whatever is written from here on is for its user alone
    from modelyard.control.actions.serve import serve, serve_bundles, serve_plan  # noqa: PLC0415 - imported when called
    from modelyard.serve.supervisor import Options  # noqa: PLC0415 - as above

    _check_together(models, plan, flags)
    tunings = _tunings(flags["tune"])
    if flags["bundles"] is None:
        models, flags = with_folders(screen, settings, models, plan, flags)
    environ = click.get_current_context().find_root().obj or {}
    flags, told = _with_platforms(flags, environ)
    for reason in told.reasons:
        screen.say(reason)
    for note in told.unheard:
        screen.warn(note)
    options = Options(
        host=flags["host"],
        port=flags["port"],
        workers=flags["workers"],
        drain_delay_s=flags["drain_delay"],
        grace_s=flags["grace"],
        repository=flags["repository"],
        signatures=flags["signatures"],
        contracts=tuple((flags["contracts"] or "usual").split(",")),
        grpc_port=_grpc_port(**flags),
        recruit=AHEAD.get(),
        keys=_with_keys(flags),
        trusted_network=flags["trusted_network"],
        access=flags["access"],
        hosts=flags["allow_host"],
        behind_tls_proxy=flags["behind_tls_proxy"],
        tls=tls_files(screen, settings, flags),
    )
    narrator = _Narrator(screen, "" if flags["no_grpc"] else _NO_GRPC, options)
    if options.repository == "explicit" and (plan or flags["bundles"]):
        raise click.UsageError("there is no registry to load from: no --repository explicit, no SAGEMAKER_MULTI_MODEL")
    if plan is not None:
        serve_plan(plan, options, narrator.tell)
    elif flags["bundles"] is not None:
        serve_bundles(flags["bundles"], flags["name"], options, narrator.tell, tunings)
    else:
        serve(settings, models, options, flags["max_body_mb"] * _MIB, narrator.tell, tunings)
    screen.say("Stopped. Requests under way were finished first.")


#: What only the registry's models can be given, and why not.
_OF_REGISTRY = {
    "signatures": ("off", "what signatures its models have to show"),
    "tune": ((), "how its models are run"),
}


def _check_together(models: Sequence[str], plan: Path | None, flags: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself."""
    named = [name for name, given in (("MODEL", models), ("--plan", plan), ("--bundles", flags["bundles"])) if given]
    if len(named) > 1:
        raise click.UsageError(f"give {' or '.join(named)}, not both")
    if plan is not None:
        for name, (usual, what) in _OF_REGISTRY.items():
            if flags[name] != usual:
                raise click.UsageError(f"a --plan says itself {what}: no --{name}")
        if flags["access"]:
            raise click.UsageError("a --plan says itself whose keys count: no --access")
    if flags["bundles"] is not None and flags["signatures"] != "off":
        raise click.UsageError("whose signatures count is what a registry knows: no --signatures with --bundles")
    if flags["name"] and flags["bundles"] is None:
        raise click.UsageError("--name is for --bundles")
    if flags["trusted_network"] and flags["auth"] == "keys":  # --access is in the command of an image, and may stay
        raise click.UsageError("on a --trusted-network nobody needs a key: no --auth keys")


def _with_keys(flags: Mapping[str, Any]) -> bool:
    """Whether callers have to say who they are: where others can reach the server, unless its operator knows them."""
    if flags["trusted_network"] or flags["auth"] == "none":
        return False
    return flags["auth"] == "keys" or flags["access"] is not None or not is_loopback(flags["host"])


def _with_platforms(flags: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], Told]:
    """The flags, with what a cloud's environment says where the operator says nothing; and what it said."""
    context = click.get_current_context()
    given = {name for name in _TOLD if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    names = flags["contracts"]
    named = None if names is None else [name.strip() for name in names.split(",")]
    if named is not None and not all(named):
        raise click.UsageError(f"--contracts {names!r} has an empty name in it")
    told = platforms.told(environ, named, [_TOLD[name] for name in given])
    wanted = {name: getattr(told, told_as) for name, told_as in _TOLD.items() if name not in given}
    flags = flags | {name: value for name, value in wanted.items() if value is not None}
    if told.multi_model:
        flags["repository"] = "explicit"
    if told.contracts:
        flags["contracts"] = ",".join(("usual", *told.contracts))
    return flags, told


def _tunings(texts: Sequence[str]) -> dict[str, Tuning]:
    if not texts:
        return {}
    from modelyard.cli._tuning import read_tunings  # noqa: PLC0415 - imported when there is something to read

    return read_tunings(texts)


def _grpc_port(*, port: int, grpc_port: int | None, no_grpc: bool, **_: Any) -> int | None:
    """Where to speak gRPC; None when it is not wanted, or not installed and nobody asked for it."""
    from modelyard.serve.grpc import missing  # noqa: PLC0415 - imported when called

    if no_grpc:
        if grpc_port is not None:
            raise click.UsageError("give --grpc-port or --no-grpc, not both")
        return None
    library = missing()
    if library:
        if grpc_port is not None:
            raise MissingExtra(what="gRPC", library=library, extra="grpc")
        return None
    if grpc_port is not None:
        return grpc_port
    return port + 1 if 0 < port < _LAST_PORT else 0


class _Narrator:
    """Says what the server reports, once for all its workers; with --json one line of JSON per event."""

    def __init__(self, screen: Screen, without_grpc: str, options: Options) -> None:
        self._contracts = options.contracts
        self._keys = options.keys
        self._screen = screen
        self._url = ""
        self._host = options.host
        self._grpc = without_grpc
        self._first = ""
        self._said: set[str] = set()
        self._renewed = ""
        self._ready = False

    def tell(self, event: Mapping[str, Any]) -> None:
        """One event of the supervisor."""
        if self._screen.as_json:
            click.echo(json.dumps(dict(event)))
            return
        say = {"listening": self._listening, "loaded": self._loaded, "trouble": self._trouble, "died": self._died}
        say |= {"ready": self._serving, "unloaded": self._unloaded, "no_grpc": self._without_grpc}
        say |= {"certificate": self._certificate, "no_keys": self._without_keys}
        for key in event.keys() & say.keys():
            say[key](event)

    def _listening(self, event: Mapping[str, Any]) -> None:
        host, port = event["listening"]
        host = f"[{host}]" if ":" in host else host
        self._url = f"{'https' if event['tls'] else 'http'}://{host}:{port}"
        if event["grpc_port"]:
            self._grpc = f"{host}:{event['grpc_port']}"

    def _loaded(self, event: Mapping[str, Any]) -> None:
        label = event["loaded"]
        if label in self._said:
            return  # another worker said so
        self._said.add(label)
        if event["default"]:
            self._first = self._first or label.partition("@")[0]
        checked = f", golden rows {event['checked']}/{event['checked']}" if event["checked"] else ""
        cost = f"{event['first_row_s'] * 1e6:.0f} µs a row"
        live = " · live" if self._ready else ""
        self._screen.say(f"{label}  loaded in {event['load_s']:.2f} s{checked}, {cost}, {_policy(event)}{live}")
        for note in event["unheeded"]:
            self._screen.warn(f"{label}: {note}")

    def _unloaded(self, event: Mapping[str, Any]) -> None:
        if event["unloaded"] in self._said:
            self._said.remove(event["unloaded"])
            self._screen.say(f"{event['unloaded']}  unloaded")

    def _trouble(self, event: Mapping[str, Any]) -> None:
        now = "goes on as it was" if event["served"] else "is not served"
        self._screen.warn(f"{event['model']} {now}: {event['trouble']}")

    def _without_grpc(self, event: Mapping[str, Any]) -> None:
        self._screen.warn(f"worker {event['worker']} does not answer gRPC: {event['no_grpc']}")

    def _certificate(self, event: Mapping[str, Any]) -> None:
        """Each worker reads it, and says the same about it."""
        said = event["error"] or event["certificate"]
        if said == self._renewed:
            return
        self._renewed = said
        until = f"the certificate that is valid until {event['certificate'][:10]}"
        if event["error"]:
            self._screen.warn(f"new connections go on with {until}: {event['error']}")
        else:
            self._screen.say(f"New connections get {until}")

    def _without_keys(self, event: Mapping[str, Any]) -> None:
        self._screen.warn(f"keys of {event['issuer'] or 'issuers'}: {event['no_keys']}")

    def _died(self, event: Mapping[str, Any]) -> None:
        self._screen.warn(f"worker {event['worker']} stopped (code {event['died']}); starting another")

    def _serving(self, event: Mapping[str, Any]) -> None:
        del event
        if self._ready:
            return
        self._ready = True
        if not self._first:
            self._screen.say(f"  Nothing is loaded yet: POST {self._url}/v2/repository/models/NAME/load")
            return
        several = f"/models/{self._first}" if len({label.partition("@")[0] for label in self._said}) > 1 else ""
        self._screen.say(f"  REST     {self._url}{several or ''}/predict")
        self._screen.say(f"  OIP v2   {self._url}/v2/models/{self._first}/infer")
        if self._grpc:
            self._screen.say(f"  gRPC     {self._grpc}")
        for name, (label, address) in _PLATFORMS.items():
            if name in self._contracts or "all" in self._contracts:
                self._screen.say(f"  {label} {self._url}{address}")
        self._screen.say(f"  Docs     {self._url}/docs")
        who = "Callers need a key: modelyard key create NAME." if self._keys else "Only this machine can call it."
        if not is_loopback(self._host) and not self._keys:
            who = "Whoever can reach it can call it."
        self._screen.say(f"  {who} Press Ctrl+C to stop (requests under way are finished first).")


def _policy(event: Mapping[str, Any]) -> str:
    """How a model is run, shortly."""
    rows = event["batch_rows"]
    cache = f", cache {event['cache_bytes'] / _MIB:.4g} MiB" if event["cache_bytes"] else ""
    return f"{event['policy']}, {f'up to {rows} rows' if rows > 1 else 'one request'} a call{cache}"
