"""The HTTP side of the stand-in: paths, verbs, queries, and the answers' words."""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests.standin.certificate import secured
from tests.standin.controllers import Controllers
from tests.standin.schemas import BY_KIND, RESOURCES, VERSION, Resource
from tests.standin.store import Entry, Item, Refusal, Store

TOKEN = "stand-in-token"
USER = "system:serviceaccount:ci:modelyard"
_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create", "PUT": "update", "DELETE": "delete"}
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class _Server(ThreadingHTTPServer):
    """One that says nothing of callers who hang up, or do not trust it."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Cluster:
    """A stand-in for the Kubernetes API on a free port of this machine.

    What a test may turn: `denied` (verb, plural) pairs; `busy`, how many requests are put off; `quota`, how many
    objects of a plural there may be; `unknown` kinds; `controllers.pods`; `store` for what others do.
    """

    def __init__(self, *namespaces: str) -> None:
        self.store = Store()
        self.controllers = Controllers(self.store)
        self.denied: set[tuple[str, str]] = set()
        self.quota: dict[str, int] = {}
        self.unknown: set[str] = set()
        self.documents: dict[str, Item] = {}
        self.busy = 0
        self.token = TOKEN
        self.asked: list[str] = []
        self.store.admit = self._admit
        for name in namespaces:
            meta = {"name": name, "uid": name, "resourceVersion": "1"}
            item = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "status": {"phase": "Active"}}
            self.store.entries["Namespace", "", name] = Entry(item)
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"cluster": self}))
        self._authority, context = secured()
        # The handshake is left to the connection's own thread.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Cluster]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def kubeconfig(self, folder: Path, namespace: str = "default", token: str = TOKEN) -> Path:
        """A file with the context ``stand-in``."""
        server = {"server": self.address, "certificate-authority-data": b64encode(self._authority).decode()}
        cluster = {"name": "stand-in", "cluster": server}
        context = {"name": "stand-in", "context": {"cluster": "stand-in", "user": "ci", "namespace": namespace}}
        user = {"name": "ci", "user": {"token": token}}
        whole = {"apiVersion": "v1", "kind": "Config", "current-context": "stand-in"}
        path = folder / "kubeconfig"
        path.write_text(json.dumps({**whole, "clusters": [cluster], "contexts": [context], "users": [user]}))
        return path

    def _admit(self, resource: Resource, space: str, item: Item) -> None:
        most = self.quota.get(resource.plural)
        used = sum(1 for _ in self.store.all(resource.kind, space))
        if most is not None and used >= most:
            name, what = item["metadata"]["name"], f"count/{resource.full}"
            said = f"exceeded quota: objects, requested: {what}=1, used: {what}={used}, limited: {what}={most}"
            details = {"name": name, "group": resource.group, "kind": resource.plural}
            raise Refusal(403, f'{resource.full} "{name}" is forbidden: {said}', details)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    cluster: Cluster
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - theirs
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        cluster = self.cluster
        cluster.asked.append(f"{self.command} {parts.path}")
        with cluster.store.lock:
            if cluster.busy:
                cluster.busy -= 1
                self._answer(
                    429, Refusal(429, "the server has asked us to try again later").status, {"Retry-After": "1"}
                )
                return
            try:
                if self.headers.get("Authorization") != f"Bearer {cluster.token}":
                    raise Refusal(401, "Unauthorized")
                if query.get("watch") in {"true", "1"}:
                    self._watch(*self._route(parts.path)[:2], query)
                    return
                code, found = self._do(parts.path, query, raw)
            except Refusal as exc:
                code, found = exc.code, exc.status
        self._answer(code, found)

    do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - theirs

    def _answer(self, code: int, found: Item | str, headers: dict[str, str] | None = None) -> None:
        raw = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        with suppress(OSError):  # whoever asked may be gone
            self.end_headers()
            self.wfile.write(raw)

    def _do(self, path: str, query: dict[str, str], raw: bytes) -> tuple[int, Item | str]:
        if self.command == "GET" and (document := self._document(path)) is not None:
            return 200, document
        if path == _REVIEWS:
            return 201, self._review(json.loads(raw))
        resource, space, name, part = self._route(path)
        verb = "list" if self.command == "GET" and not name else _VERBS[self.command]
        if part not in {"", "log"}:
            raise Refusal(404, "the server could not find the requested resource")
        self._check_may(verb, resource, space, name, part)
        if self.command == "GET" and resource.kind in {"Deployment", "Pod", "HTTPRoute", "GRPCRoute"}:
            self.cluster.controllers.step()
        if part == "log":
            return 200, self._log(space, name, query)
        return getattr(self, f"_{verb}")(resource, space, name, query, raw)

    def _document(self, path: str) -> Item | None:
        """Discovery, and what a test put there."""
        if path in self.cluster.documents:
            return self.cluster.documents[path]
        known = [each for each in RESOURCES if each.kind not in self.cluster.unknown]
        if path == "/version":
            major, minor = VERSION.split(".")
            return {"major": major, "minor": minor, "gitVersion": f"v{VERSION}.0-standin"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            groups = {each.group: each.api for each in known if each.group}
            listed = [_group(name, api) for name, api in groups.items()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        api = path.removeprefix("/apis/").removeprefix("/api/")
        found = [each for each in known if each.api == api]
        if not found:
            return None
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": api,
            "resources": list(map(_listed, found)),
        }

    def _route(self, path: str) -> tuple[Resource, str, str, str]:
        steps = path.strip("/").split("/")
        api, rest = ("v1", steps[2:]) if steps[:2] == ["api", "v1"] else ("/".join(steps[1:3]), steps[3:])
        space = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            space, rest = rest[1], rest[2:]
        plural, name, part = [*rest, "", "", ""][:3]
        for resource in RESOURCES:
            if (resource.api, resource.plural) == (api, plural) and resource.kind not in self.cluster.unknown:
                return resource, space, name, part
        raise Refusal(404, "the server could not find the requested resource")

    def _check_may(self, verb: str, resource: Resource, space: str, name: str, part: str) -> None:
        plural = f"{resource.plural}/{part}" if part else resource.plural
        if (verb, plural) in self.cluster.denied:
            what = f'cannot {verb} resource "{plural}" in API group "{resource.group}" in the namespace "{space}"'
            subject = f'{resource.full} "{name}"' if name else resource.full
            details = {"name": name, "group": resource.group, "kind": resource.plural}
            raise Refusal(403, f'{subject} is forbidden: User "{USER}" {what}', details)

    def _review(self, review: Item) -> Item:
        asked = review["spec"]["resourceAttributes"]
        plural = asked["resource"] + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        return {**review, "status": {"allowed": (asked["verb"], plural) not in self.cluster.denied}}

    def _get(self, resource: Resource, space: str, name: str, query: dict[str, str], raw: bytes) -> tuple[int, Item]:
        del query, raw
        return 200, self.cluster.store.find(resource, space, name).shown()

    def _list(self, resource: Resource, space: str, name: str, query: dict[str, str], raw: bytes) -> tuple[int, Item]:
        del name, raw
        store = self.cluster.store
        items = [each.shown() for each in store.all(resource.kind, space) if _chosen(each.item, query)]
        meta = {"resourceVersion": str(store.version)}
        return 200, {"kind": f"{resource.kind}List", "apiVersion": resource.api, "metadata": meta, "items": items}

    def _patch(self, resource: Resource, space: str, name: str, query: dict[str, str], raw: bytes) -> tuple[int, Item]:
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        store, body = self.cluster.store, yaml.safe_load(raw)
        if kind == "application/apply-patch+yaml":
            if not query.get("fieldManager"):
                raise Refusal(400, 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value')
            how = {"force": query.get("force") == "true", "dry": query.get("dryRun") == "All"}
            return store.apply(resource, space, name, body, query["fieldManager"], **how)
        if kind not in {"application/merge-patch+json", "application/strategic-merge-patch+json"}:
            raise Refusal(
                415, f"the body of the request was in an unknown format: {kind}", reason="UnsupportedMediaType"
            )
        item = _merged(store.find(resource, space, name).item, body)
        return 200, store.update(resource, space, name, item, query.get("fieldManager", "unknown"))

    def _create(self, resource: Resource, space: str, name: str, query: dict[str, str], raw: bytes) -> tuple[int, Item]:
        item = yaml.safe_load(raw)
        name = name or item["metadata"]["name"]
        if (resource.kind, space, name) in self.cluster.store.entries:
            raise Refusal(409, f'{resource.full} "{name}" already exists', reason="AlreadyExists")
        return 201, self.cluster.store.update(resource, space, name, item, query.get("fieldManager", "unknown"))

    def _update(self, resource: Resource, space: str, name: str, query: dict[str, str], raw: bytes) -> tuple[int, Item]:
        return 200, self.cluster.store.update(
            resource, space, name, yaml.safe_load(raw), query.get("fieldManager", "unknown")
        )

    def _delete(self, resource: Resource, space: str, name: str, query: dict[str, str], raw: bytes) -> tuple[int, Item]:
        del query, raw
        self.cluster.store.remove(resource, space, name)
        if resource.kind == "Deployment":
            self.cluster.controllers.orphan(space, name)
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": {"name": name}}

    def _log(self, space: str, name: str, query: dict[str, str]) -> str:
        self.cluster.store.find(BY_KIND["Pod"], space, name)
        container = query.get("container", "modelyard")
        now, before = self.cluster.controllers.logs.get((space, name, container), ("", ""))
        if query.get("previous") == "true" and not before:
            raise Refusal(400, f'previous terminated container "{container}" in pod "{name}" not found')
        text = before if query.get("previous") == "true" else now
        if not text:
            raise Refusal(400, f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating')
        return "".join(line + "\n" for line in text.splitlines()[-int(query.get("tailLines", "1000")) :])

    def _watch(self, resource: Resource, space: str, query: dict[str, str]) -> None:
        """Changes since a version, one line each; called with the lock held, which waiting gives back."""
        store, since = self.cluster.store, int(query.get("resourceVersion") or 0)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if query.get("sendInitialEvents") == "true":  # a list, told as changes
            since = self._tell_all(resource, space, query)
        elif since < store.oldest:
            self._line({"type": "ERROR", "object": _too_old(since, store.oldest)})
            return
        for _ in range(int(float(query.get("timeoutSeconds") or 30) * 10)):
            for version, what, kind, where, item in list(store.log):
                if version > since and kind == resource.kind and where == space and _chosen(item, query):
                    self._line({"type": what, "object": item})
            if self.gone:
                return
            since = store.version
            store.changed.wait(0.1)
            self.cluster.controllers.step()

    def _tell_all(self, resource: Resource, space: str, query: dict[str, str]) -> int:
        """All that is there, and that this was all."""
        store = self.cluster.store
        for entry in store.all(resource.kind, space):
            if _chosen(entry.item, query):
                self._line({"type": "ADDED", "object": entry.shown()})
        meta = {"resourceVersion": str(store.version), "annotations": {"k8s.io/initial-events-end": "true"}}
        mark = {"kind": resource.kind, "apiVersion": resource.api, "metadata": meta}
        self._line({"type": "BOOKMARK", "object": mark})
        return store.version

    gone = False

    def _line(self, event: Item) -> None:
        try:
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()
        except OSError:
            self.gone = True


def _too_old(since: int, oldest: int) -> Item:
    return Refusal(410, f"too old resource version: {since} ({oldest})").status


def _group(name: str, api: str) -> Item:
    version = {"groupVersion": api, "version": api.partition("/")[2]}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _listed(resource: Resource) -> Item:
    return {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
        "shortNames": list(resource.short),
    }


def _chosen(item: Item, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = pair.partition("=")
        if labels.get(key) != value.lstrip("="):
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = pair.partition("=")
        found: Any = item
        for step in key.split("."):
            found = (found or {}).get(step)
        if found != value:
            return False
    return True


def _merged(there: Item, patch: Item) -> Item:
    """RFC 7396; for maps, a strategic merge patch is the same."""
    merged = dict(there)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged
