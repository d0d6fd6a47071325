"""Serve: render the plan for what was asked, and keep workers answering it until told to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelyard.core.errors import Denied, Internal, ModelyardError, NotFound
from modelyard.core.settings import Settings
from modelyard.serve.sockets import Sockets, listen
from modelyard.serve.supervisor import Event, Options, Supervisor

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from modelyard.control.actions.home import Home
    from modelyard.control.actions.jwks import Keeper
    from modelyard.control.actions.porter import Porter
    from modelyard.core.plan import Access, Plan, Tuning


def serve(
    settings: Settings,
    requested: Sequence[str],
    options: Options,
    body_bytes: int | None,
    on_event: Callable[[Event], None],
    tunings: Mapping[str, Tuning] | None = None,
) -> None:
    """Serve these references until SIGTERM or SIGINT. All models when empty; none, when the repository is explicit.

    The workers are started before the registry is opened, so that both take their time at once. What is published or
    aliased while this runs goes live through the saved plan, which `plans.refresh` renews.

    Parameters
    ----------
    settings : Settings
        Where the registry is.
    requested : sequence of str
        ``name``, ``name@2`` or ``name@alias``.
    options : Options
        Address, workers, drain times.
    body_bytes : int, optional
        Largest body of one request; None for the usual limit.
    on_event : callable
        Told ``{"listening": (host, port), "grpc_port": port or None, "tls": bool}`` and what the supervisor reports.
    tunings : mapping of str to Tuning, optional
        As for `plans.render`.

    Raises
    ------
    Denied, Conflict
        The address may not or cannot be listened on.
    NotFound, InvalidName, CorruptBundle
        What was asked for cannot be served.
    """
    if options.keys and options.access is None and not settings.keys.exists():
        raise Denied(what=f"will not listen on {options.host}: nobody has a key yet", hint="modelyard init")
    sockets = _listen(options, keys=options.keys)
    port = sockets.http.getsockname()[1]
    name = f"serve-{port}"
    path = settings.plans / f"{name}.json"
    path.unlink(missing_ok=True)  # from a server on this port that was killed
    clerk = _Clerk(name, requested, options, on_event)
    supervisor = Supervisor(sockets, path, options, clerk.hear)
    home: Home | None = None
    try:
        supervisor.start()
        on_event(_listening(options, sockets))
        # What opens the registry is imported here, while the workers import theirs.
        from msgspec import structs  # noqa: PLC0415 - as above

        from modelyard.control.actions import plans  # noqa: PLC0415 - as above
        from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above
        from modelyard.control.actions.porter import Porter  # noqa: PLC0415 - as above
        from modelyard.core.plan import Limits  # noqa: PLC0415 - as above
        from modelyard.core.trust import Policy  # noqa: PLC0415 - as above

        home = open_home(settings)
        explicit = options.repository == "explicit"
        limits = Limits() if body_bytes is None else Limits(body_bytes=body_bytes)
        with home.artifacts.held():  # nobody may put the bundles away before the saved plan names them
            policy = Policy(options.signatures)
            plan = plans.render(home, requested, limits, explicit=explicit, tunings=tunings, signatures=policy)
            plan = structs.replace(plan, access=_access(home, options), usage=_usage(settings, name, options.workers))
            if not plan.models and not explicit:
                hint = "modelyard train data.csv --target COLUMN"
                raise NotFound(what="model", name="", cause="the registry is empty", hint=hint)
            clerk.begin(home, supervisor.answer)
            plans.save(home, name, plan)
        with _chores(home), Porter(home) as clerk.porter, _keeper(settings, options, on_event) as clerk.keeper:
            supervisor.run()
    finally:
        supervisor.close()
        path.unlink(missing_ok=True)
        if home is not None:
            plans.tidy(home)


@contextmanager
def _chores(home: Home) -> Iterator[None]:
    """What is done beside answering: checkpoints of the audit log, and what workers wrote down of predictions."""
    from modelyard.control.actions import audit, journals  # noqa: PLC0415 - imported while workers start

    with audit.told(home), journals.kept(home):
        yield


def _usage(settings: Settings, name: str, workers: int) -> str:
    """The file of what callers have used up; what its predecessor on this port wrote today is kept."""
    path = settings.usage / name
    if path.exists():
        from modelyard.guard import ledger  # noqa: PLC0415 - as above

        ledger.begin(path, workers)
    return str(path)


def _access(home: Home, options: Options) -> Access:
    """Where workers find out who may call them, and by which names."""
    from modelyard.control.actions import keys  # noqa: PLC0415 - imported while workers start
    from modelyard.core.plan import Access  # noqa: PLC0415 - as above

    if not options.keys:
        return Access(hosts=options.hosts)
    return keys.access(home, options.hosts) if options.access is None else _of_others(options)


def _of_others(options: Options) -> Access:
    """The key table that lies in the folder that the operator names: another installation's, as in a container."""
    from modelyard.core.plan import Access  # noqa: PLC0415 - as above

    if not options.keys or options.access is None:
        return Access(hosts=options.hosts)
    folder = options.access.absolute()
    names = {"keys": "keys.json", "peppers": "peppers", "tokens": "tokens.json", "certificates": "certificates.toml"}
    return Access(**{what: str(folder / name) for what, name in names.items()}, hosts=options.hosts)


def _keeper(
    settings: Settings, options: Options, on_event: Callable[[Event], None]
) -> Keeper | AbstractContextManager[None]:
    """Who keeps the keys of issuers fresh, where callers have to say who they are."""
    if not options.keys:
        return nullcontext()
    from modelyard.control.actions.jwks import Keeper  # noqa: PLC0415 - imported while workers start

    return Keeper(settings, on_event)


def _listen(options: Options, *, keys: bool) -> Sockets:
    trusted = options.trusted_network
    private = trusted or options.behind_tls_proxy or options.tls is not None
    return listen(options.host, options.port, options.grpc_port, keys=keys or trusted, private=private)


class _Clerk:
    """Loads and unloads what workers ask for, one after the other, in a thread beside the supervisor's loop."""

    def __init__(
        self, server: str, requested: Sequence[str], options: Options, on_event: Callable[[Event], None]
    ) -> None:
        self._on_event = on_event
        self._server = server
        self._requested = requested
        self._workers = options.workers
        self.keeper: Keeper | None = None
        self.porter: Porter | None = None

    @cached_property
    def _thread(self) -> Executor:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - few servers are asked, and none at its start

        return ThreadPoolExecutor(1, thread_name_prefix="repository")

    def begin(self, home: Home, answer: Callable[[str, Event], None]) -> None:
        """From now on there is a registry to load from, and somebody to tell."""
        self._home = home
        self._answer = answer

    def hear(self, event: Event) -> None:
        """Every event of the supervisor: questions of workers are answered later, all others passed on."""
        if "repository" in event:
            self._thread.submit(self._work, event)
        elif "wanted_keys" in event:
            if self.keeper is not None:
                self.keeper.want(event["wanted_keys"])
        elif self.porter is None or not self.porter.hear(event):
            self._on_event(event)

    def _work(self, event: Event) -> None:
        try:
            told: Event = {"serial": self._do(event)}
        except ModelyardError as exc:
            told = {"error": exc.to_wire()}
        except Exception as exc:  # noqa: BLE001 - the thread's border: without an answer the worker would wait in vain
            told = {"error": Internal(cause=f"{type(exc).__name__}: {exc}").to_wire()}
        self._answer(event["ticket"], told)

    def _do(self, event: Event) -> int:
        from modelyard.control.actions import load  # noqa: PLC0415 - the registry is imported while workers start
        from modelyard.core.identity import Principal  # noqa: PLC0415 - as above

        who, method, source = event["by"]
        home, name = replace(self._home, actor=Principal(who, frozenset(), method), source=source), event["model"]
        if event["repository"] == "unload":
            return load.unload(home, self._server, name).serial
        if not event["folder"]:
            return load.load(home, self._server, name, self._requested).serial
        room = partial(load.room_bytes, self._workers)
        return load.mount(home, self._server, name, event["folder"], room).serial


def _listening(options: Options, sockets: Sockets) -> Event:
    port = sockets.http.getsockname()[1]
    return {"listening": (options.host, port), "grpc_port": sockets.grpc_port, "tls": options.tls is not None}


def serve_plan(plan: Path, options: Options, on_event: Callable[[Event], None]) -> None:
    """Serve a plan that lies there already, with no registry at hand: how a container runs."""
    if not plan.is_file():
        raise NotFound(what="serving plan", name=plan.name)
    from modelyard.core.plan import Plan  # noqa: PLC0415 - the other way to serve imports it while workers start

    _obey(plan, Plan.from_bytes(plan.read_bytes()), options, on_event)


def serve_bundles(
    folder: Path, name: str, options: Options, on_event: Callable[[Event], None], tunings: Mapping[str, Tuning]
) -> None:
    """Serve the exported bundles of a folder, with no registry at hand; see `mounted.plan_of`."""
    from msgspec import structs  # noqa: PLC0415 - as above

    from modelyard.control.actions import mounted  # noqa: PLC0415 - as above

    plan = structs.replace(mounted.plan_of(folder, name, tunings), access=_of_others(options))
    with TemporaryDirectory(prefix="modelyard-") as scratch:
        path = Path(scratch) / "plan.json"
        path.write_bytes(plan.to_bytes())
        _obey(path, plan, options, on_event)


def _obey(path: Path, plan: Plan, options: Options, on_event: Callable[[Event], None]) -> None:
    """Serve this plan, which is in this file, until SIGTERM or SIGINT."""
    keys = bool(plan.access.keys) and not options.trusted_network
    if keys and not Path(plan.access.keys).is_file():
        raise Denied(
            what=f"there is no key table at {plan.access.keys}: nobody could be let in",
            hint=f"put keys.json and the peppers of an installation into {Path(plan.access.keys).parent}; or add"
            " --trusted-network, where only callers that may ask can reach this server",
        )
    sockets = _listen(options, keys=keys)
    supervisor = Supervisor(sockets, path, options, on_event)
    try:
        supervisor.start()
        on_event(_listening(options, sockets))
        supervisor.run()
    finally:
        supervisor.close()
