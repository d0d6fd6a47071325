"""What is kept of questions and answers, as an operator wants it; shown, taken away, and persons erased from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.control.actions import configure, journals, plans
from modelyard.control.actions.home import Home
from modelyard.core.errors import Busy, Forbidden, InvalidRequest, NotFound, Unavailable, UnknownField
from modelyard.core.identity import Permission, Scope, Verb
from modelyard.core.privacy import Auditing, Capture, Privacy
from modelyard.core.reference import check_name
from modelyard.core.signature import Signature
from modelyard.guard import privacy, segments
from modelyard.guard.privacy import CaptureKey, Kept, Pseudonyms
from modelyard.guard.segments import CAPTURES, OPEN, SEALED
from modelyard.store import files

_CLOSE_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Erased:
    """What was erased: rows, of so many segments, and the pseudonym under which that is recorded."""

    rows: int
    segments: int
    pseudonym: str


def capture(home: Home, model: str, **wanted: Any) -> Capture:
    """Keep a sample of a model's questions and answers from now on; see `core.privacy.Capture`.

    Raises
    ------
    NotFound
        There is no such model.
    UnknownField
        Its newest version has no such input or output, or no such input for a subject.
    InvalidRequest
        A number is out of range.
    """
    signature = _signature(home, model)
    try:
        made = Capture(**wanted)
    except ValueError as exc:
        raise InvalidRequest(what=str(exc)) from exc
    known = [*signature.field_names, *(spec.name for spec in signature.outputs)]
    for name in made.columns:
        if name not in known:
            raise UnknownField(field=name, known=known)
    if made.subject and made.subject not in signature.field_names:
        raise UnknownField(field=made.subject, known=list(signature.field_names))
    detail = {"sample": f"{made.sample:g}", "columns": ", ".join(made.columns), "days": f"{made.days:g}"}
    detail |= {"subject": made.subject} if made.subject else {}
    _change(home, "privacy.capture", model, detail, lambda before: msgspec.structs.replace(before, capture=made))
    return made


def audit(home: Home, model: str, wanted: Auditing | None) -> None:
    """Have each prediction of a model leave a line, or none any more."""
    _signature(home, model)
    detail = {"on": "no"}
    if wanted is not None:
        detail = {"on": "yes", "policy": wanted.policy, "days": f"{wanted.days:g}"}
        detail |= {"pseudonyms": "yes"} if wanted.pseudonyms else {}
    _change(home, "privacy.audit", model, detail, lambda before: msgspec.structs.replace(before, audit=wanted))


def off(home: Home, model: str) -> None:
    """Keep nothing more of a model; what there is goes when its time is over. `NotFound` when nothing was kept."""
    if model not in journals.configured(home).models:
        raise NotFound(
            what="journal of model", name=model, cause="nothing is kept of it", hint="modelyard privacy show"
        )
    _change(home, "privacy.off", model, {}, lambda before: Privacy())


def export(home: Home, model: str) -> Iterator[dict[str, Any]]:
    """What was captured of a model, opened, oldest segment first. That somebody looked is recorded before.

    Raises
    ------
    Forbidden
        The actor may not audit.
    InvalidName
        That is no name of a model.
    NotFound
        Nothing was captured.
    Unavailable
        The key that opens captures, or its master key, is not at hand.
    """
    check_name(model)
    with home.change("privacy.export", model) as (_, record):
        if not home.actor.may(Permission(Verb.AUDIT)):
            scope = str(Scope(Verb.AUDIT))
            raise Forbidden(who=home.actor.name, verb=str(Verb.AUDIT), what="this server", scope=scope)
        found = [*journals.paths(home, CAPTURES, SEALED, model), *journals.paths(home, CAPTURES, OPEN, model)]
        if not found:
            raise NotFound(what="capture of model", name=model, hint="modelyard privacy show")
        private = CaptureKey(home.settings.secrets).private(journals.master_keys(home))
        record(model, {"segments": str(len(found))})
    return _opened(sorted(found), private)


def erase(home: Home, subject: str, model: str = "") -> Erased:
    """Remove every captured row about somebody, of one model or of all; what remains is under new keys.

    Workers are told to close what they write, so that this is in it too. What is captured later is captured anew.

    Raises
    ------
    Forbidden
        The actor may not configure.
    InvalidName
        That is no name of a model.
    Busy
        A worker does not close what it writes.
    Unavailable
        The key that opens captures, or its master key, is not at hand.
    """
    configure.check_may(home)
    if model:
        check_name(model)
    pseudonym = Pseudonyms.read(privacy.secret(home.settings.secrets)).of(subject)
    about = model or "all models"
    with home.attempt("privacy.erase", about):
        _close(home, model)
        rows = touched = 0
        with files.locked(files.make_folder(home.settings.journal)):
            found = journals.paths(home, CAPTURES, SEALED, model)
            if found:
                key = CaptureKey(home.settings.secrets)
                private, public = key.private(journals.master_keys(home)), key.public(None)
                for path in found:
                    gone = _erase(path, private, public, pseudonym)
                    rows, touched = rows + gone, touched + bool(gone)
    with home.change("privacy.erase", about) as (_, record):
        record(about, {"subject": pseudonym, "rows": str(rows), "segments": str(touched)})
    return Erased(rows, touched, pseudonym)


def _signature(home: Home, model: str) -> Signature:
    """Of the newest version."""
    version = home.catalogue.model(model).latest
    return home.artifacts.manifest(version.digest).signature


def _change(home: Home, action: str, model: str, detail: dict[str, str], make: Callable[[Privacy], Privacy]) -> None:
    """Say what is wanted of one model, recorded, and to running servers; what was wanted before is remembered."""

    def rewrite(raw: bytes) -> bytes:
        kept = privacy.parse(raw)
        before = kept.models.get(model, Privacy())
        after = make(before)
        old = kept.former.get(model, Privacy())
        former = Privacy(audit=before.audit or old.audit, capture=before.capture or old.capture)
        models = {name: each for name, each in kept.models.items() if name != model} | ({model: after} if after else {})
        others = {name: each for name, each in kept.former.items() if name != model}
        return Kept(turn=kept.turn, models=models, former=others | ({model: former} if former else {})).to_bytes()

    configure.change(home, home.settings.privacy, (action, model), rewrite, detail)
    plans.announce(home, f"what is kept of {model} is changed")


def _close(home: Home, model: str) -> None:
    """Have every worker close the captures that it writes, and wait until that is done."""
    turn = 0

    def rewrite(raw: bytes) -> bytes:
        nonlocal turn
        kept = privacy.parse(raw)
        turn = kept.turn + 1
        return msgspec.structs.replace(kept, turn=turn).to_bytes()

    configure.change(home, home.settings.privacy, ("privacy.close", model or "all models"), rewrite)
    if plans.announce(home, "segments are to be closed"):
        time.sleep(_OBEYED_S)
    deadline = time.monotonic() + _CLOSE_S
    while True:
        journals.settle(home)
        left = [path for path in journals.paths(home, CAPTURES, OPEN, model) if segments.turn(path) < turn]
        if not left:
            return
        if time.monotonic() > deadline:
            raise Busy(what=f"{len(left)} captured segment(s) are still being written", hint="run it again")
        time.sleep(_POLL_S)


#: A worker looks at its plan four times a second, and writes what waits twice a second.
_OBEYED_S = 1.5


def _opened(found: list[Path], private: bytes) -> Iterator[dict[str, Any]]:
    from modelyard.guard import payloads  # noqa: PLC0415 - brings cryptography, for those who open captures

    for path in found:
        try:
            yield from (msgspec.json.decode(body) for body in payloads.read(path, private))
        except FileNotFoundError:  # closed just now, or swept
            closed = path.with_suffix(SEALED)
            if closed.exists():
                yield from (msgspec.json.decode(body) for body in payloads.read(closed, private))
        except OSError as exc:
            raise Unavailable(what=f"cannot read captured segment {path.stem}", cause=exc.strerror) from exc


def _erase(path: Path, private: bytes, public: str, pseudonym: str) -> int:
    """Take the rows of a subject out of a segment; how many those were."""
    from modelyard.guard import payloads  # noqa: PLC0415 - as above

    left: list[bytes] = []
    gone = 0
    for body in payloads.read(path, private):
        if pseudonym.encode() not in body:
            left.append(body)
            continue
        document = msgspec.json.decode(body)
        stay = [at for at, who in enumerate(document.get("subjects", ())) if who != pseudonym]
        gone += len(document.get("subjects", ())) - len(stay)
        if stay:
            left.append(msgspec.json.encode(_only(document, stay)))
    if gone:
        payloads.rewrite(path, left, public)
    return gone


def _only(document: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """A capture with these of its rows."""
    kept = dict(document, subjects=[document["subjects"][at] for at in rows])
    for part in ("inputs", "outputs"):
        kept[part] = {name: [values[at] for at in rows] for name, values in document[part].items()}
    return kept
