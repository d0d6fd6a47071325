"""Every error a user can meet, in one tree; each edge maps `kind` to its own status, and nobody else knows one.

The tree (depth three at most)::

    ModelyardError
    ├── InvalidInput          what was sent does not fit the signature
    ├── InvalidRequest        the message itself is broken
    ├── TooLarge              a limit was passed
    ├── Unsupported           a media type, encoding or datatype that nobody here speaks; `NotAcceptable` for the answer
    ├── NotAllowed            a method that this address does not take
    ├── InvalidName           a name that cannot become a host or a Kubernetes object
    ├── InvalidModel          a model file or bundle that cannot be accepted
    ├── InvalidData           training data or a sample that cannot be used
    ├── TrainingFailed        the mathematics did not work out
    ├── NotFound              a model, version, alias, column, file or route that is not there
    ├── Conflict              it is there already, or somebody else is changing it
    ├── Unauthenticated       nobody knows who asks
    ├── Denied                refused by a rule of safety; `Forbidden` by the permission table, `Untrusted` unsigned,
    │                         `WrongHost` and `CrossSite` where a browser may have been talked into it
    ├── NotReady, Busy, Timeout
    ├── Unavailable           what is needed cannot be reached; `MissingExtra`, `NoEngine`, `RegistryRefused`,
    │                         `TargetUnavailable`
    ├── BuildFailed, RolloutFailed    an image could not be made, a release did not come up
    ├── RateLimited           a caller asks more than it may; others are answered
    ├── StoreFull, NoRoom, StoreDamaged (`AuditBroken`: the record of what was done)
    └── Internal              our own mistake

A class words its sentence once (`sentence`, `cause`, `hint` are templates over the instance's `facts`), so call sites
stay short: ``raise UnknownField(field="tenur", known=[...])``. `code` is stable and can be looked up with
``modelyard explain CODE``; the class docstring is the long text shown there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import islice
from math import ceil
from typing import Any, ClassVar

_SHOWN = 80  # characters of a value that an error repeats
_SEARCHED = 500  # a guess at what was meant may not cost more than the request


class Kind(StrEnum):
    """What sort of trouble it is; each edge owns one total table from kind to its own code."""

    INVALID = "invalid"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    NOT_ALLOWED = "not-allowed"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    NOT_READY = "not-ready"
    BUSY = "busy"
    LIMITED = "limited"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    FULL = "full"
    INTERNAL = "internal"


def _words(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [str(item) for item in value]
        if len(items) > 8:  # a sentence, not a dump
            items = [*items[:8], f"… ({len(value)} in all)"]
        return ", ".join(items) if items else "none"
    return value


class ModelyardError(Exception):
    """Something went wrong that has a name; see the classes below.

    Parameters
    ----------
    **facts
        What the sentence speaks of: short, JSON-able values, never a payload, a path of the server or a secret.
        The facts `cause` and `hint`, when given, replace the class's own templates.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL
    code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Internal error"
    sentence: ClassVar[str] = "something went wrong"
    cause_text: ClassVar[str] = ""
    hint_text: ClassVar[str] = ""

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = facts
        super().__init__(self.detail)

    def _fill(self, template: str) -> str:
        """The template with the facts in it; empty when it speaks of a fact that nobody gave, or not of this type."""
        try:
            return template.format_map({key: _words(value) for key, value in self.facts.items()})
        except (KeyError, ValueError, TypeError):  # facts may come from another process or server
            return ""

    @property
    def detail(self) -> str:
        """The sentence: what happened, with the facts filled in."""
        return self._fill(self.sentence) or self.title

    @property
    def cause(self) -> str:
        """Why it happened, or an empty string."""
        return str(self.facts["cause"]) if "cause" in self.facts else self._fill(self.cause_text)

    @property
    def hint(self) -> str:
        """What the reader can do next, as a command where there is one."""
        return str(self.facts["hint"]) if "hint" in self.facts else self._fill(self.hint_text)

    def __str__(self) -> str:
        return self.detail

    def to_wire(self) -> dict[str, Any]:
        """The error as plain data (`code`, `facts`), for a parent process to rebuild with `from_wire`."""
        return {"code": self.code, "facts": self.facts}


# --- what was sent ----------------------------------------------------------------------------------------------


class InvalidInput(ModelyardError):
    """The input does not fit the model's signature: its names, types, shapes, categories or allowed missing values."""

    kind = Kind.INVALID
    code = "INPUT-INVALID"
    title = "The input does not fit the model's signature"
    sentence = "{what}"
    hint_text = "see what the model expects: modelyard model show {model}"


class UnknownField(InvalidInput):
    """A field was sent that the model has no input for. Misspelt names are refused rather than ignored."""

    code = "INPUT-UNKNOWN-FIELD"
    sentence = "no input {field!r}; the model's inputs are: {known}"

    def __init__(self, *, field: str, known: Iterable[str], **facts: Any) -> None:
        field, known = field[:_SHOWN], list(known)
        near = nearest(field, known)
        if near:
            facts.setdefault("cause", f"did you mean {near!r}?")
        super().__init__(field=field, known=known, **facts)


class MissingField(InvalidInput):
    """A field is missing that the model cannot do without. Inputs that may be left out are `nullable`."""

    code = "INPUT-MISSING-FIELD"
    sentence = "missing input {fields}{where}"


class WrongType(InvalidInput):
    """A value has the wrong type, for example text where the model needs a number."""

    code = "INPUT-WRONG-TYPE"
    sentence = "input {field!r} must be {expected}, got {got}{where}"


class WrongShape(InvalidInput):
    """A tensor's shape does not match the signature, its data does not fill its shape, or rows have unlike lengths."""

    code = "INPUT-WRONG-SHAPE"
    sentence = "input {field!r}: {problem}"


class NotANumber(InvalidInput):
    """A missing, NaN or infinite value was sent for an input that does not allow missing values."""

    code = "INPUT-NOT-A-NUMBER"
    sentence = "input {field!r} may not be missing, NaN or infinite{where}"


class UnknownCategory(InvalidInput):
    """A category was sent that the model has never seen and was not made to accept."""

    code = "INPUT-UNKNOWN-CATEGORY"
    sentence = "input {field!r} does not know the category {got!r}{where}; it knows: {known}"

    def __init__(self, *, field: str, got: str, known: Iterable[str], **facts: Any) -> None:
        got, known = got[:_SHOWN], list(known)
        near = nearest(got, known)
        if near:
            facts.setdefault("cause", f"did you mean {near!r}?")
        super().__init__(field=field, got=got, known=known, **facts)


class NoRows(InvalidInput):
    """Nothing was asked: an empty list of rows, columns without values, or a tensor whose first axis is 0."""

    code = "INPUT-NO-ROWS"
    sentence = "there are no rows to answer"
    hint_text = "send at least one row"


class InvalidRequest(ModelyardError):
    """The message is broken before its content matters: not valid JSON, a truncated tensor, a bad header."""

    kind = Kind.INVALID
    code = "REQUEST-INVALID"
    title = "The request cannot be read"
    sentence = "{what}"


class TooLarge(ModelyardError):
    """A size limit was passed: body, header, address, number of headers, rows or elements."""

    kind = Kind.TOO_LARGE
    code = "REQUEST-TOO-LARGE"
    title = "Too large"
    sentence = "the {what} is larger than the limit of {limit}"
    hint_text = "send fewer rows a request, or raise the limit when starting the server"


class Unsupported(ModelyardError):
    """A media type, encoding or datatype that this server, model or version does not speak."""

    kind = Kind.UNSUPPORTED
    code = "UNSUPPORTED"
    title = "Not supported"
    sentence = "{what}"


class NotAcceptable(Unsupported):
    """The answer cannot be given in any of the forms that the request's ``Accept`` allows."""

    code = "NOT-ACCEPTABLE"
    sentence = "no form of the answer is one that Accept allows: {accept}"
    hint_text = "leave Accept out, or name one of: {known}"


class NotAllowed(ModelyardError):
    """The address is there, and takes other methods."""

    kind = Kind.NOT_ALLOWED
    code = "METHOD-NOT-ALLOWED"
    title = "Method not allowed"
    sentence = "{method} is not what this address takes; it takes {allowed}"


# --- names, files, data -----------------------------------------------------------------------------------------


class InvalidName(ModelyardError):
    """Names are DNS labels, because they become host names and Kubernetes objects.

    Lower-case letters, digits and hyphens, at most 63 characters, starting and ending with a letter or digit.
    """

    kind = Kind.INVALID
    code = "NAME-INVALID"
    title = "Not a valid name"
    sentence = "{name!r} cannot be the name of {what}"
    cause_text = "names become hosts and Kubernetes objects: a-z, 0-9 and '-', at most 63 characters, ends not '-'"
    hint_text = "use {suggestion!r}"


class InvalidModel(ModelyardError):
    """The model file cannot be read, or says something that a model file may not say."""

    kind = Kind.INVALID
    code = "MODEL-INVALID"
    title = "The model file cannot be accepted"
    sentence = "{what}"


class UnknownFormat(InvalidModel):
    """The file is none of the model formats that this version reads."""

    code = "MODEL-UNKNOWN-FORMAT"
    sentence = "cannot tell what kind of model {file!r} is"
    cause_text = "looked at its bytes: {seen}"
    hint_text = "this version reads: {known}"


class HostileModel(InvalidModel):
    """The file holds something that can read files, run for ever or exhaust memory; it is refused, not loaded."""

    code = "MODEL-HOSTILE"
    sentence = "the ONNX graph is refused: {what}"


class NotConvertible(InvalidModel):
    """The model was read, but there is no faithful translation of it to ONNX."""

    code = "MODEL-NOT-CONVERTIBLE"
    sentence = "{model} cannot be translated to ONNX: {what}"


class ParityFailed(InvalidModel):
    """The translated model does not answer like the original on the sample rows, so it is not accepted.

    Allowed: no label differs, and no value is off by more than 1e-4 x max(1, |y|).
    """

    code = "MODEL-PARITY"
    sentence = "the translated model answers differently from the original: {what}"


class SandboxFailed(InvalidModel):
    """The sandboxed child that opens foreign files was stopped: it ran too long, grew too big, or broke a rule."""

    code = "MODEL-SANDBOX"
    sentence = "the file could not be opened in the sandbox: {what}"


class CorruptBundle(InvalidModel):
    """A bundle's bytes are not the ones its manifest names. It is not loaded; what was serving goes on serving."""

    code = "BUNDLE-CORRUPT"
    title = "The bundle is damaged"
    sentence = "bundle {bundle}: {what}"
    hint_text = "import or train the model again, or restore the store from a backup"


class LoadFailed(InvalidModel):
    """A model could not be loaded by a running server; what it served before goes on being served."""

    code = "LOAD-FAILED"
    title = "The model could not be loaded"
    sentence = "failed to load {model!r}, {what}"


class InvalidData(ModelyardError):
    """A data file cannot be used: empty, not a table, no target column, nothing to learn from."""

    kind = Kind.INVALID
    code = "DATA-INVALID"
    title = "The data cannot be used"
    sentence = "{what}"


class TrainingFailed(ModelyardError):
    """Training started and could not end well."""

    kind = Kind.INVALID
    code = "TRAIN-FAILED"
    title = "Training failed"
    sentence = "{what}"


class Diverged(TrainingFailed):
    """The loss of gradient descent grew instead of shrinking.

    The step (learning rate) is larger than 2 / L, where L is the largest eigenvalue of the loss's second derivative;
    inputs that were not standardised make L large. Use a smaller learning rate, or standardise.
    """

    code = "TRAIN-DIVERGED"
    title = "Training diverged"
    sentence = "the loss grew for {patience} epochs in a row (epoch {epoch}: {loss:.2g})"


# --- what is not there, or not now ------------------------------------------------------------------------------


class NotFound(ModelyardError):
    """There is nothing of that name here."""

    kind = Kind.NOT_FOUND
    code = "NOT-FOUND"
    title = "Not found"
    sentence = "no {what} {name!r}"

    def __init__(self, *, what: str, name: str, known: Iterable[str] = (), **facts: Any) -> None:
        known = [str(item) for item in known]
        near = nearest(name, known)
        if near:
            facts.setdefault("cause", f"did you mean {near!r}?")
        elif known:
            facts.setdefault("cause", f"there is: {_words(known)}")
        super().__init__(what=what, name=name, known=known, **facts)


class NotInRepository(NotFound):
    """A model was to be loaded that the registry of this server does not have."""

    code = "REPOSITORY-NO-MODEL"
    sentence = "failed to load {name!r}, failed to poll from model repository"
    hint_text = "see what there is: POST /v2/repository/index"


class Conflict(ModelyardError):
    """It exists already, is in use, or somebody else is changing it."""

    kind = Kind.CONFLICT
    code = "CONFLICT"
    title = "Conflict"
    sentence = "{what}"


class BreakingChange(Conflict):
    """A version cannot take another's place unnoticed: callers of the one that runs would have to change.

    ``modelyard model diff`` shows what they would have to change. ``--breaking`` deploys it all the same.
    """

    code = "DEPLOY-BREAKING"
    title = "Callers would break"
    sentence = "{after} breaks callers of {before}: {changes}"
    hint_text = "deploy it under another name, or tell callers and add --breaking"


class Unauthenticated(ModelyardError):
    """Who asks is not known: there is no key, token or certificate, or it is not valid (any more)."""

    kind = Kind.UNAUTHENTICATED
    code = "UNAUTHENTICATED"
    title = "Not authenticated"
    sentence = "{what}"
    hint_text = "send a key: Authorization: Bearer my_..."


class Denied(ModelyardError):
    """A rule of safety refuses it."""

    kind = Kind.DENIED
    code = "DENIED"
    title = "Not allowed"
    sentence = "{what}"


class Forbidden(Denied):
    """Who asks is known, and may not do this: none of the scopes that were granted is enough."""

    code = "FORBIDDEN"
    sentence = "{who} may not {verb} {what}"
    hint_text = "ask an admin for the scope {scope}"

    @property
    def detail(self) -> str:
        """The sentence; some verbs about the installation are not what one would say."""
        words = _SAID.get(str(self.facts.get("verb"))) if self.facts.get("what") == "this server" else None
        return self._fill("{who} may not " + words) if words else super().detail


_SAID = {"keys": "make or revoke keys", "audit": "read the audit log", "metrics": "read the metrics of this server"}


class WrongHost(Denied):
    """The request was sent to a name that is not this server's: the names that it may be called by are limited.

    A page of another site can make its own name lead to this machine, and then ask what only this machine may ask; a
    server without keys therefore answers to this machine's own names only.
    """

    code = "HOST-NOT-ALLOWED"
    title = "Not a name of this server"
    sentence = "{host!r} is not a name that this server may be called by"
    hint_text = "if it should be, start the server with --allow-host {host}"


class CrossSite(Denied):
    """A browser sent this on behalf of another site's page, and it could change something; nothing was done.

    Everything but GET, HEAD and OPTIONS has to come from a page of this server, or from a program that is no browser.
    """

    code = "CROSS-SITE"
    title = "Sent by another site's page"
    sentence = "a browser sent this {method} on behalf of a page of another site"
    hint_text = "send it from a program, or from a page of this server's own"


class Untrusted(Denied):
    """A version has no signature that counts, and only signed versions are served, or one was asked to be verified.

    A signature counts when it was made with a key that is trusted for the model, for exactly these files under this
    name, and names a version that is not below the model's minimum.
    """

    code = "SIGNATURE-UNTRUSTED"
    title = "No signature that counts"
    sentence = "{what} {why}"


class NoSandbox(Denied):
    """Pickle files run code when they are opened, and this machine lacks a layer of the sandbox.

    Both Landlock (Linux 5.13 and newer) and seccomp are needed. ``--trust`` opens the file without them, with all the
    rights of the user, and the bundle records that this was done.
    """

    code = "SANDBOX-MISSING"
    sentence = "this file can run code when it is opened, and the sandbox for it is not complete here: {missing}"
    hint_text = "import it on Linux 5.13 or newer; or, if you made the file yourself, add --trust"


class NotReady(ModelyardError):
    """It is on its way: still loading, or being stopped."""

    kind = Kind.NOT_READY
    code = "NOT-READY"
    title = "Not ready"
    sentence = "{what}"


class Busy(ModelyardError):
    """Too much is being asked at once; try again a little later."""

    kind = Kind.BUSY
    code = "BUSY"
    title = "Busy"
    sentence = "{what}"


class RateLimited(ModelyardError):
    """A caller has used up what it may ask of a model for now: by the second, by the day, or at the same time.

    Others are answered meanwhile. ``Retry-After`` says when it is worth asking again; whoever configures the server
    changes what callers may with ``modelyard rate set``.
    """

    kind = Kind.LIMITED
    code = "RATE-LIMITED"
    title = "Asked too much"
    sentence = "{what}"
    hint_text = "ask again in {retry_s} s"

    def __init__(self, *, what: str, wait_s: float, **facts: Any) -> None:
        super().__init__(what=what, wait_s=wait_s, **{"retry_s": max(1, ceil(wait_s)), **facts})


class Timeout(ModelyardError):
    """It took longer than allowed."""

    kind = Kind.TIMEOUT
    code = "TIMEOUT"
    title = "Took too long"
    sentence = "{what} took longer than {limit_s} s"


class Unavailable(ModelyardError):
    """Something that is needed cannot be reached: a database that is locked, a library that is not installed."""

    kind = Kind.UNAVAILABLE
    code = "UNAVAILABLE"
    title = "Unavailable"
    sentence = "{what}"


class NotExplicit(Unavailable):
    """Models are not loaded and unloaded by whoever can call this server, unless its operator says so."""

    code = "REPOSITORY-CLOSED"
    sentence = "explicit model load / unload is not allowed if polling is enabled"
    cause_text = "this server serves what its plan says"
    hint_text = "start it so that it may: modelyard serve --repository explicit"


class MissingExtra(Unavailable):
    """An optional part of Modelyard is needed and not installed."""

    code = "EXTRA-MISSING"
    sentence = "{what} needs {library}, which is not installed"
    hint_text = 'pip install "modelyard[{extra}]"'


class NoEngine(Unavailable):
    """Neither Docker nor Podman answers here, and what was asked for needs one of them.

    An image can be made without one: ``modelyard build --format oci``.
    """

    code = "ENGINE-MISSING"
    title = "No container engine"
    sentence = "{what} needs Docker or Podman"
    hint_text = "start one of them; or make an image without: modelyard build MODEL --format oci"


class RegistryRefused(Unavailable):
    """A container registry or object store cannot be reached, refuses us, or answers what cannot be right."""

    code = "REGISTRY-REFUSED"
    title = "The registry refuses"
    sentence = "{registry}: {what}"


class TargetUnavailable(Unavailable):
    """The place where a deployment runs cannot be reached, or refuses us."""

    code = "TARGET-UNAVAILABLE"
    title = "The target cannot be reached"
    sentence = "target {target}: {what}"
    hint_text = "see what it needs: modelyard target check {target}"


class BuildFailed(ModelyardError):
    """An image could not be made, or does not answer like the model that is in it. Nothing of it is left."""

    kind = Kind.UNAVAILABLE
    code = "BUILD-FAILED"
    title = "The build failed"
    sentence = "{what}"


class RolloutFailed(ModelyardError):
    """A release did not come up on its target. What was there before was put back, where anything was."""

    kind = Kind.UNAVAILABLE
    code = "ROLLOUT-FAILED"
    title = "The release did not come up"
    sentence = "{deployment} on {target}: {what}"


class StoreFull(ModelyardError):
    """The disk that holds the store is full. Nothing was half-written; what is serving goes on serving."""

    kind = Kind.FULL
    code = "STORE-FULL"
    title = "The disk is full"
    sentence = "no space left on the disk that holds {where}"
    hint_text = "free some space and run the same command again; nothing was changed"


class NoRoom(ModelyardError):
    """A model to be loaded is larger than the memory that is left for it. Nothing was changed."""

    kind = Kind.FULL
    code = "NO-ROOM"
    title = "Not enough memory"
    sentence = "there is no room for model {name!r}: it has {size_bytes} bytes, and {room_bytes} would fit"
    hint_text = "unload another model first"


class StoreDamaged(ModelyardError):
    """The database or a stored file failed its integrity check. It is never recreated over your data."""

    kind = Kind.INTERNAL
    code = "STORE-DAMAGED"
    title = "The store is damaged"
    sentence = "the store failed its integrity check: {what}"
    hint_text = "restore the home folder from a backup; the damaged file was left as it is"


class AuditBroken(StoreDamaged):
    """The audit log is not what was recorded: records were changed, removed, moved or put there.

    Each record holds the hash of the one before it, and checkpoints that left the machine hold the hash of the last.
    All records before the one that is named are as they were recorded.
    """

    code = "AUDIT-BROKEN"
    title = "The audit log was changed"
    sentence = "the audit log is not what was recorded: {what}"
    cause_text = "the first record that cannot be trusted is {sequence}"
    hint_text = "keep a copy of the home as it is, then compare it with an export or a backup: modelyard audit export"


class Internal(ModelyardError):
    """Our own mistake. The log has the details under the request id."""

    code = "INTERNAL"
    sentence = "something went wrong on our side"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be, or None; a long list is searched at its start only."""
    words = [str(item) for item in islice(known, _SEARCHED)]
    found = difflib.get_close_matches(word[:_SHOWN], words, n=1, cutoff=0.6)
    return found[0] if found else None


def _leaves(root: type[ModelyardError]) -> Iterable[type[ModelyardError]]:
    yield root
    for child in root.__subclasses__():
        yield from _leaves(child)


def catalogue() -> Mapping[str, type[ModelyardError]]:
    """Every error class by its code."""
    return {cls.code: cls for cls in reversed(list(_leaves(ModelyardError))) if cls is not ModelyardError}


def from_wire(wire: Mapping[str, Any]) -> ModelyardError:
    """The error that a child process described with `to_wire`; an unknown code becomes `Internal`."""
    cls = catalogue().get(str(wire.get("code")), Internal)
    facts = wire.get("facts")
    error = cls.__new__(cls)
    error.facts = {str(key): value for key, value in facts.items()} if isinstance(facts, dict) else {}
    error.args = (error.detail,)
    return error
