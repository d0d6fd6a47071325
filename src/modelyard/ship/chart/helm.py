"""The program ``helm``: charts rendered, releases put in place, undone and removed; what it says, in our words."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelyard.core.errors import Conflict, Denied, InvalidRequest, ModelyardError, TargetUnavailable
from modelyard.ship import yaml
from modelyard.ship.cluster.pods import Object

_CALL_S = 60.0
_LOOK_S = 1.0
_OLDEST = (3, 14)  # since then it tells what it has put there as JSON
_SHOWN = 400
_ABSENT = re.compile(r"release: not found|no deployed releases|Release not loaded", re.I)
#: What Helm says when it is not the release itself that failed: pattern, error, our sentence, what to do.
_WORDS: tuple[tuple[str, type[ModelyardError], str, str], ...] = (
    (
        r"namespaces? \"([^\"]+)\" not found",
        TargetUnavailable,
        "there is no namespace {found!r}",
        "kubectl create namespace {found}; or name another one when you add the target",
    ),
    (
        r"cluster unreachable|connection refused|no such host|i/o timeout|TLS handshake|x509:",
        TargetUnavailable,
        "the cluster does not answer Helm",
        "see which cluster is meant: kubectl config get-contexts",
    ),
    (
        r"another operation \(install/upgrade/rollback\) is in progress",
        Conflict,
        "Helm is at it already",
        "wait until it is done, and try again",
    ),
    (
        r"conflict with \"([^\"]+)\"",
        Conflict,
        "a field is managed by {found} too",
        "let {found} no longer set it; or add the target again with take_over=true",
    ),
    (
        r"invalid ownership metadata|cannot be imported into the current release",
        Conflict,
        "an object of this name is there already, and not of this release of Helm",
        "deploy under another name; or remove what is there first",
    ),
    (
        r"exceeded quota",
        Denied,
        "the quota of the namespace is used up",
        "kubectl describe quota --namespace {namespace}",
    ),
    (
        r"forbidden|Unauthorized|must be logged in",
        Denied,
        "the cluster does not let Helm do it",
        "see what is missing: modelyard target check {target}",
    ),
    (
        r"no matches for kind \"([^\"]+)\"",
        TargetUnavailable,
        "the cluster has no {found}",
        "install what brings it, or change the target",
    ),
    (
        r"values don't meet the specifications of the schema",
        InvalidRequest,
        "the chart refuses its values",
        "change what the sentence above names",
    ),
)


@dataclass(frozen=True)
class Installed:
    """A release of Helm, as Helm remembers it.

    Parameters
    ----------
    revision : int
        Counts up with everything that Helm does to it.
    status : str
        ``deployed``, ``failed``, ``pending-upgrade``, ...
    items : tuple of dict
        The objects that Helm has put there.
    """

    revision: int
    status: str
    items: tuple[Object, ...]

    @property
    def pending(self) -> bool:
        """Whether Helm is at it, or was cut off."""
        return self.status.startswith("pending-")


class Stopped(Exception):
    """Helm did not bring the release up. What it says about it; whoever called knows more."""


class Helm:
    """Helm, for one namespace.

    Parameters
    ----------
    target : str
        Name of the target, for errors.
    program : str
        ``helm``, or where it is.
    namespace, kubeconfig, context : str
        Where; empty for what Helm would use.
    """

    def __init__(self, target: str, program: str, namespace: str, kubeconfig: str = "", context: str = "") -> None:
        self._target, self._program = target, program
        self._where = ["--namespace", namespace]
        self._where += ["--kubeconfig", kubeconfig] if kubeconfig else []
        self._where += ["--kube-context", context] if context else []

    @cached_property
    def version(self) -> tuple[int, int]:
        """Its own; `TargetUnavailable` when it is not there, or too old."""
        text = self._call("version", "--template", "{{.Version}}").stdout
        found = re.search(r"v?(\d+)\.(\d+)", text)
        if found is None or (version := (int(found[1]), int(found[2]))) < _OLDEST:
            what = (
                f"{self._program} is {text.strip()[:40] or 'no Helm'}, and has to be {_OLDEST[0]}.{_OLDEST[1]} or newer"
            )
            raise TargetUnavailable(target=self._target, what=what, hint="install a newer Helm: https://helm.sh")
        return version

    def template(self, name: str, chart: Path) -> list[Object]:
        """The objects that the chart makes."""
        done = self._call("template", name, str(chart), *self._where)
        return yaml.load_all(done.stdout, "what Helm made of the chart")

    def installed(self, name: str) -> Installed | None:
        """What Helm has under this name; None where it has nothing."""
        done = self._run("status", name, "--output", "json", *self._where)
        if done.returncode and _ABSENT.search(done.stderr):
            return None
        self._check(done)
        found = json.loads(done.stdout)
        items = yaml.load_all(found.get("manifest") or "", "what Helm remembers")
        return Installed(int(found["version"]), str(found["info"]["status"]), tuple(items))

    def upgrade(
        self, name: str, chart: Path, settings: Sequence[str], limit_s: int, hopeless: Callable[[], bool]
    ) -> None:
        """Put it there and wait until it is up; when it does not come up, Helm puts back what was there before.

        Parameters
        ----------
        name, chart : str, Path
            Of the release; the chart's folder.
        settings : sequence of str
            More words for Helm.
        limit_s : int
            How long it may take.
        hopeless : callable
            Asked every second; when it says so, Helm is told to give up, and puts back what was there.

        Raises
        ------
        Stopped
            It did not come up.
        """
        undo = "--rollback-on-failure" if self.version >= (4, 0) else "--atomic"
        words = [
            "upgrade",
            name,
            str(chart),
            "--install",
            "--wait",
            undo,
            "--timeout",
            f"{limit_s}s",
            "--history-max",
            "10",
        ]
        words += [*settings, *self._where]
        process = subprocess.Popen(  # noqa: S603 - a list, no shell
            [self._found(), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            error = _watched(process, 3 * limit_s, hopeless)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            refusal = self._refusal(error)
            raise refusal if refusal else Stopped(_last(error))

    def rollback(self, name: str, revision: int, limit_s: int) -> None:
        """Bring an earlier revision back."""
        words = ("rollback", name, str(revision), "--wait", "--timeout", f"{limit_s}s")
        self._check(self._run(*words, *self._where, limit_s=2 * limit_s))

    def history(self, name: str) -> list[tuple[int, str]]:
        """Revisions with their status, oldest first; none where there is nothing."""
        done = self._run("history", name, "--output", "json", *self._where)
        if done.returncode and _ABSENT.search(done.stderr):
            return []
        self._check(done)
        return [(int(each["revision"]), str(each["status"])) for each in json.loads(done.stdout)]

    def uninstall(self, name: str, limit_s: int) -> None:
        """Remove all that Helm has put there under this name, and wait until it is gone."""
        words = (
            "uninstall",
            name,
            "--ignore-not-found",
            "--wait",
            "--cascade",
            "foreground",
            "--timeout",
            f"{limit_s}s",
        )
        self._check(self._run(*words, *self._where, limit_s=2 * limit_s))

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = self._run(*words)
        self._check(done)
        return done

    def _run(self, *words: str, limit_s: float = _CALL_S) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - a list, no shell
                [self._found(), *words],
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as exc:
            what = f"helm {words[0]} took longer than {limit_s:g} s"
            raise TargetUnavailable(target=self._target, what=what) from exc
        except OSError as exc:
            raise self._missing(str(exc)) from exc

    def _found(self) -> str:
        found = shutil.which(self._program)
        if found is None:
            raise self._missing("it is not on the PATH")
        return found

    def _missing(self, cause: str) -> TargetUnavailable:
        what = f"{self._program} cannot be run"
        hint = "install Helm (https://helm.sh), or add the target again with helm=PATH"
        return TargetUnavailable(target=self._target, what=what, cause=cause, hint=hint)

    def _check(self, done: subprocess.CompletedProcess[str]) -> None:
        if done.returncode:
            what = "Helm did not do what it was told"
            raise self._refusal(done.stderr) or TargetUnavailable(
                target=self._target, what=what, cause=_last(done.stderr)
            )

    def _refusal(self, text: str) -> ModelyardError | None:
        """The error that its words mean, where it was not the release itself that failed."""
        for pattern, error, what, hint in _WORDS:
            match = re.search(pattern, text, re.I)
            if match:
                facts = {
                    "found": match[1] if match.lastindex else "",
                    "target": self._target,
                    "namespace": self._where[1],
                }
                said = {"what": what.format(**facts), "hint": hint.format(**facts), "cause": _last(text)}
                return error(**said, target=self._target)
        return None


def _watched(process: subprocess.Popen[str], limit_s: float, hopeless: Callable[[], bool]) -> str:
    """What the process says; told to stop once when it is hopeless, and ended when it takes far too long."""
    begun_s, told = time.monotonic(), False
    while True:
        try:
            return process.communicate(timeout=_LOOK_S)[1]
        except subprocess.TimeoutExpired:
            if time.monotonic() - begun_s > limit_s:
                process.kill()
            elif not told and hopeless():
                process.send_signal(signal.SIGINT)
                told = True


def _last(text: str) -> str:
    """The sentence in which Helm says what is the matter."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next(
        (line for line in reversed(lines) if line.startswith("Error:")), lines[-1] if lines else "it says nothing"
    )
    return " ".join(said.removeprefix("Error:").split())[:_SHOWN]
