"""Models over HTTP: what there is, where aliases point, and what is taken away, as by ``modelyard model``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from modelyard.control import documents
from modelyard.control.actions.aliases import remove_alias, set_alias
from modelyard.control.actions.remove import remove
from modelyard.control.actions.show import show
from modelyard.control.api.pages import Paged, page
from modelyard.control.api.route import PREFIX, Answer, Call, Route, Some, of_model
from modelyard.core.errors import InvalidRequest
from modelyard.core.identity import Permission, Verb
from modelyard.core.reference import Reference, parse_reference

_PATH = f"{PREFIX}/models"
_MODEL = f"{_PATH}/{{model}}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_ALIAS = f"{_MODEL}/aliases/{{alias}}"


class Pointed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an alias is to point."""

    version: Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]


class Force(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether it goes also when an alias points at it; the alias goes too."""

    force: bool = False


def _list(call: Call) -> Answer:
    mine = [one for one in call.home.catalogue.models() if call.caller.may(Permission(Verb.READ, one.name))]
    return page(call, mine, lambda model: model.name, documents.model)


def _show(call: Call) -> Answer:
    return Answer(documents.model(call.home.catalogue.model(call.named["model"])))


def _versions(call: Call) -> Answer:
    model = call.home.catalogue.model(call.named["model"])
    newest = sorted(model.versions, key=lambda one: -one.version)
    return page(call, newest, lambda one: str(one.version), lambda one: documents.version(one, model.aliases_of(one)))


def _show_version(call: Call) -> Answer:
    return Answer(documents.shown(show(call.home, _reference(call))))


def _set_alias(call: Call) -> Answer:
    name, alias = call.named["model"], call.named["alias"]
    before = call.home.catalogue.model(name).aliases.get(alias)
    version = set_alias(call.home, Reference(name, version=call.asked.version), alias)
    return Answer(documents.alias(name, alias, before, version.version))


def _remove_alias(call: Call) -> Answer:
    name, alias = call.named["model"], call.named["alias"]
    version = remove_alias(call.home, name, alias)
    return Answer(documents.alias(name, alias, version.version, None))


def _remove_version(call: Call) -> Answer:
    return Answer(documents.removed(remove(call.home, _reference(call), force=call.asked.force)))


def _remove_model(call: Call) -> Answer:
    return Answer(documents.removed(remove(call.home, Reference(call.named["model"]), force=call.asked.force)))


def _reference(call: Call) -> Reference:
    """The version in the address: a number and no alias, since what an alias means can change meanwhile."""
    reference = parse_reference(f"{call.named['model']}@{call.named['version']}")
    if reference.version is None:
        raise InvalidRequest(what=f"{call.named['version'][:80]!r} is not the number of a version")
    return reference


_READS, _DEPLOYS = of_model(Verb.READ), of_model(Verb.DEPLOY)
ROUTES = (
    Route("GET", _PATH, Some(Verb.READ), _list, "The models that the caller may read, by name.", Paged),
    Route("GET", _MODEL, _READS, _show, "One model: its versions in number, and its aliases."),
    Route("DELETE", _MODEL, _DEPLOYS, _remove_model, "Remove a model with all its versions.", Force, query=True),
    Route("GET", f"{_MODEL}/versions", _READS, _versions, "The versions of a model, newest first.", Paged),
    Route("GET", _VERSION, _READS, _show_version, "What a version takes and gives, and how good it is."),
    Route("DELETE", _VERSION, _DEPLOYS, _remove_version, "Remove a version.", Force, query=True),
    Route("PUT", _ALIAS, _DEPLOYS, _set_alias, "Point an alias at a version; running servers follow.", Pointed),
    Route("DELETE", _ALIAS, _DEPLOYS, _remove_alias, "Remove an alias; the version stays."),
)
