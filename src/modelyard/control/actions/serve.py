"""Serve: render the plan for what was asked, and keep workers answering it until told to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.core.errors import NotFound
from modelyard.core.plan import Limits
from modelyard.core.settings import Settings
from modelyard.serve.supervisor import Event, Options, Supervisor, listen


def serve(
    settings: Settings,
    requested: Sequence[str],
    options: Options,
    limits: Limits,
    on_event: Callable[[Event], None],
) -> None:
    """Serve these references (all models when empty) until SIGTERM or SIGINT.

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
    limits : Limits
        Of each request.
    on_event : callable
        Told ``{"listening": (host, port)}`` and what the supervisor reports.

    Raises
    ------
    Denied, Conflict
        The address may not or cannot be listened on.
    NotFound, InvalidName, CorruptBundle
        What was asked for cannot be served.
    """
    sock = listen(options)
    port = sock.getsockname()[1]
    name = f"serve-{port}"
    path = settings.plans / f"{name}.json"
    path.unlink(missing_ok=True)  # from a server on this port that was killed
    supervisor = Supervisor(sock, path, options, on_event)
    try:
        supervisor.start()
        on_event({"listening": (options.host, port)})
        # The registry brings numpy and SQLAlchemy; importing them here, the workers import theirs meanwhile.
        from modelyard.control.actions import plans  # noqa: PLC0415 - as above
        from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

        home = open_home(settings)
        plan = plans.render(home, requested, limits)
        if not plan.models:
            raise NotFound(
                what="model", name="", cause="the registry is empty", hint="modelyard train data.csv --target COLUMN"
            )
        plans.save(home, name, plan)
        supervisor.run()
    finally:
        supervisor.close()
        path.unlink(missing_ok=True)


def serve_plan(plan: Path, options: Options, on_event: Callable[[Event], None]) -> None:
    """Serve a plan that lies there already, with no registry at hand: how a container runs."""
    if not plan.is_file():
        raise NotFound(what="serving plan", name=plan.name)
    sock = listen(options)
    supervisor = Supervisor(sock, plan, options, on_event)
    try:
        supervisor.start()
        on_event({"listening": (options.host, sock.getsockname()[1])})
        supervisor.run()
    finally:
        supervisor.close()
