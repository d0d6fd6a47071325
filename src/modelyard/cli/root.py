"""The command line's composition root: reads the environment once, imports a command's module when it is called."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import modelyard
from modelyard.cli import errors
from modelyard.cli.screen import Screen
from modelyard.core.errors import Internal, InvalidRequest, ModelyardError, nearest
from modelyard.core.settings import Settings

#: Command -> (module that defines `command`, line in the help). The table is complete without importing anything.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("modelyard.cli.init", "Set this installation up: its secrets, and a key that may everything."),
    "train": ("modelyard.cli.train", "Train a model on a CSV and save it as a version."),
    "import": ("modelyard.cli.import_", "Turn a model file into a version, checked against the original."),
    "predict": ("modelyard.cli.predict", "Ask a model, in this process: one row or a whole CSV."),
    "serve": ("modelyard.cli.serve", "Serve models over HTTP."),
    "control": ("modelyard.cli.control", "Answer the control API over HTTP: keys, models, the audit log."),
    "build": ("modelyard.cli.build", "Make an image that serves models, an archive of one, or its Dockerfile."),
    "push": ("modelyard.cli.push", "Push a version's bundle to a registry or an object store."),
    "pull": ("modelyard.cli.pull", "Fetch a bundle that was pushed: as a version, or as a folder."),
    "deploy": ("modelyard.cli.deploy", "Put models on a target, and wait until they answer there."),
    "status": ("modelyard.cli.status", "Say what is deployed, and whether it is what was recorded."),
    "rollback": ("modelyard.cli.rollback", "Make live what was live before."),
    "destroy": ("modelyard.cli.destroy", "Remove a deployment from its target."),
    "target": ("modelyard.cli.target", "Say where deployments run: add, list, show, check and remove targets."),
    "bench": ("modelyard.cli.bench", "Load a model or a server, check every answer, measure what it can take."),
    "openapi": ("modelyard.cli.openapi", "Print the API of models as an OpenAPI document."),
    "model": ("modelyard.cli.model", "List, show, compare, alias, export and remove models."),
    "key": ("modelyard.cli.key", "Make, list, rotate and revoke the keys of callers."),
    "rate": ("modelyard.cli.rate", "Say how much callers may ask: by second, by day, at once."),
    "audit": ("modelyard.cli.audit", "List, export and verify the record of what was done."),
    "privacy": ("modelyard.cli.privacy", "Say what is kept of questions and answers; erase persons from it."),
    "sign": ("modelyard.cli.sign", "Sign a version: its bytes, and how it came to be."),
    "verify": ("modelyard.cli.verify", "Verify a version or an exported folder, and who signed it."),
    "trust": ("modelyard.cli.trust", "Say whose signatures count, for which models."),
    "encrypt": ("modelyard.cli.encrypt", "Encrypt what is stored; rotate the master key."),
    "issuer": ("modelyard.cli.issuer", "Believe tokens that somebody else signs."),
    "tls": ("modelyard.cli.tls", "Certificates: make, show, and say what callers may who have one."),
    "doctor": ("modelyard.cli.doctor", "Check this installation and say how to mend it."),
    "explain": ("modelyard.cli.explain", "Explain an error code."),
}

#: What the system says of words that can be no file; many a word is looked at as one.
_NO_FILES = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that --help stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: the daily path first."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of that name. An image has a few of them only."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name][0]
        try:
            command: click.Command = import_module(module).command
        except ModuleNotFoundError as exc:
            if exc.name != module:
                raise
            what = f"'{cmd_name}' is not part of an image that serves; it is where Modelyard is installed whole."
            raise click.UsageError(what) from exc
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command in the refusal."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            near = nearest(args[0], COMMANDS)
            if near is None:
                raise
            raise click.UsageError(f"{exc.message} Did you mean '{near}'?", ctx) from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, as it is."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(modelyard.__version__, "--version", "-V", message="modelyard %(version)s")
def root() -> None:
    """From a CSV or a model file to an API.

    \b
    modelyard train data.csv --target price     a CSV becomes a model
    modelyard import churn.joblib               a model file becomes a model
    modelyard serve churn                       a model becomes an API on 127.0.0.1:8080
    """  # noqa: D301 - click's own mark, which a raw string would print


def with_screen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--json``, ``-q`` and ``-v``, and call it as ``function(screen, settings, ...)``.

    A `ModelyardError` becomes the four-part report and the exit code of its kind; a command may return an exit code.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    @click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
    @click.option("-v", "--verbose", is_flag=True, help="Show where an error came from.")
    @wraps(function)
    def command(*, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
        screen = Screen(as_json=as_json, quiet=quiet, verbose=verbose)
        sys.exit(_guard(screen, lambda: function(screen, Settings.from_environ(os.environ), **options)))

    return command


def _guard(screen: Screen, call: Callable[[], int | None]) -> int:
    try:
        return call() or 0
    except ModelyardError as exc:
        if screen.verbose:
            import traceback  # noqa: PLC0415 - only with -v

            traceback.print_exc()
        return errors.report(exc, screen)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return errors.INTERRUPTED
    except click.ClickException:
        raise
    except BrokenPipeError:  # `modelyard model list | head`; what is left to flush goes nowhere, silently
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as exc:  # the process border: no traceback reaches a user who did not ask for one
        if isinstance(exc, OSError) and exc.errno in _NO_FILES:
            name = Path(os.fsdecode(exc.filename or "")).name
            return errors.report(InvalidRequest(what=f"{name[:80]!r} can be no file here", cause=exc.strerror), screen)
        if screen.verbose:
            raise
        hint = "run the same command with -v and send us what it prints"
        return errors.report(Internal(cause=f"{type(exc).__name__}: {exc}", hint=hint), screen)
