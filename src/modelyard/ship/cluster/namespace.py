"""One namespace of a cluster: its objects, read, applied and removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from modelyard.core.errors import ModelyardError, TargetUnavailable
from modelyard.ship.cluster.answers import Asked, refusal
from modelyard.ship.cluster.kinds import KINDS, Kind
from modelyard.ship.cluster.pods import MANAGER

Object = dict[str, Any]

_MISSING, _GOOD = 404, range(200, 300)
_LONGEST_LOG = 64 * 1024


class Way(Protocol):
    """How to ask a cluster: `cluster.Cluster`."""

    target: str

    @property
    def address(self) -> str:
        """Of the API."""
        ...

    def send(self, method: str, path: str, body: Object | None = None) -> tuple[int, str]:
        """Status and text of the answer."""
        ...


class Namespace:
    """The objects of one namespace.

    Parameters
    ----------
    cluster : Way
        How to ask.
    name : str
        Which.
    """

    def __init__(self, cluster: Way, name: str) -> None:
        self.cluster, self.name = cluster, name

    @property
    def target(self) -> str:
        """Name of the target that it is."""
        return self.cluster.target

    def get(self, kind: Kind, name: str) -> Object | None:
        """The object as it is; None where there is none."""
        return self._ask(Asked(self.target, self.name, "get", kind, name), "GET", self._path(kind, name))

    def all(self, kind: Kind, selector: Mapping[str, str], fields: str = "") -> list[Object]:
        """Every object with these labels; none where the cluster does not know the kind."""
        query = {
            "labelSelector": ",".join(f"{key}={value}" for key, value in selector.items()),
            "fieldSelector": fields,
        }
        asked = Asked(self.target, self.name, "list", kind)
        found = self._ask(asked, "GET", self._path(kind, query={key: each for key, each in query.items() if each}))
        items = (found or {}).get("items") or []
        return [{"apiVersion": kind.version, "kind": kind.name, **item} for item in items]

    def apply(self, item: Object, *, dry: bool = False, force: bool = False) -> Object:
        """Server-side apply: what is said of the object becomes so, what is not said stays.

        Parameters
        ----------
        item : dict
            The object, with all of its fields that are ours.
        dry : bool
            Only tell what would come of it.
        force : bool
            Take fields over that another manager has set to another value.

        Returns
        -------
        dict
            The object as it is afterwards.

        Raises
        ------
        Conflict
            Somebody else manages one of these fields.
        """
        kind, name = KINDS[item["kind"]], item["metadata"]["name"]
        query = {"fieldManager": MANAGER, "force": str(force).lower()} | ({"dryRun": "All"} if dry else {})
        asked = Asked(self.target, self.name, "patch", kind, name)
        return self._ask(asked, "PATCH", self._path(kind, name, query), item) or {}

    def delete(self, kind: Kind, name: str) -> bool:
        """Remove it, and after it is told so what is its own; whether it was there."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        asked = Asked(self.target, self.name, "delete", kind, name)
        return self._ask(asked, "DELETE", self._path(kind, name), body) is not None

    def logs(self, pod: str, container: str, *, lines: int, previous: bool = False) -> str:
        """The last lines that a container wrote; of the one before it, where `previous`. Empty where there are none.

        A container that has not begun has no log, and not everybody may read one: the rest is told without it.
        """
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(_LONGEST_LOG)}
        path = self._path(KINDS["Pod"], f"{pod}/log", query | ({"previous": "true"} if previous else {}))
        status, text = self.cluster.send("GET", path)
        return text.strip("\n") if status in _GOOD else ""

    def may(self, verb: str, kind: Kind, subresource: str = "") -> bool:
        """Whether we may do this with objects of the kind here."""
        what = {"group": kind.group, "resource": kind.plural, "verb": verb, "namespace": self.name}
        review = {"resourceAttributes": what | ({"subresource": subresource} if subresource else {})}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": review}
        asked = Asked(self.target, self.name, "create")
        found = self._ask(asked, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        return bool((found or {}).get("status", {}).get("allowed"))

    def document(self, path: str) -> Object | None:
        """Another document of the API, such as ``/version``; None where there is none."""
        return self._ask(Asked(self.target, self.name, "get"), "GET", path)

    def _path(self, kind: Kind, name: str = "", query: Mapping[str, str] | None = None) -> str:
        root = "apis" if kind.group else "api"
        path = f"/{root}/{kind.version}/namespaces/{quote(self.name)}/{kind.plural}"
        return path + (f"/{quote(name)}" if name else "") + (f"?{urlencode(query)}" if query else "")

    def _ask(self, asked: Asked, method: str, path: str, body: Object | None = None) -> Object | None:
        """The answer; None where what was asked for is not there, but for what is made of nothing."""
        status, text = self.cluster.send(method, path, body)
        if status == _MISSING and method != "PATCH":
            return None
        if status not in _GOOD:
            raise refusal(asked, status, text)
        try:
            found: Object = json.loads(text)
        except ValueError as exc:
            what = f"{self.cluster.address} answers no JSON: is it the API of a cluster?"
            raise TargetUnavailable(target=self.target, what=what) from exc
        return found


def tried(namespace: Namespace, kind: Kind, selector: Mapping[str, str]) -> list[Object]:
    """Like `Namespace.all`; nothing where we may not look. For what only explains."""
    try:
        return namespace.all(kind, selector)
    except ModelyardError:
        return []
