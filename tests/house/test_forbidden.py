"""What no room of a server does: unpickle, run text as code, start processes, call out. Exceptions say why."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house.source import modules

ROOMS = ("core", "model", "store", "registry", "guard", "watch", "serve")
#: Modules that are not imported.
MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "dbm", "code", "codeop",
    "subprocess", "multiprocessing", "pty", "urllib.request", "http.client", "http.server", "requests", "httpx",
    "aiohttp", "urllib3", "ftplib", "smtplib", "telnetlib", "xmlrpc", "xml", "jinja2", "yaml", "torch", "runpy",
}  # fmt: skip
#: Names that are not called.
CALLS = {
    "eval", "exec", "compile", "__import__", "input", "breakpoint", "os.system", "os.popen", "os.fork", "os.forkpty",
    "os.startfile", "pickle.loads", "pickle.load", "marshal.loads", "yaml.load", "yaml.unsafe_load", "torch.load",
    "numpy.load", "np.load", "socket.create_connection", "asyncio.open_connection", "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell", "loop.create_connection", "importlib.reload", "sys.setprofile", "sys.settrace",
}  # fmt: skip
_STARTS = ("os.exec", "os.spawn", "os.posix_spawn")
#: Who does it all the same, and why that is no way in.
ALLOWED = {
    (
        "modelyard.guard.keysources",
        "subprocess",
    ): "the operator's own command opens the master key; its words come from the operator",
    (
        "modelyard.guard.sinks",
        "http.client",
    ): "checkpoints go to the sinks that the operator names; no worker imports it",
    (
        "modelyard.model.folders._view",
        "yaml",
    ): "settings of other servers' folders, by safe_load, when a folder is imported",
    (
        "modelyard.model.formats.sklearn",
        "joblib",
    ): "runs in the sandbox only, which the file's bytes reach before anything else",
    (
        "modelyard.model.sandbox",
        "subprocess",
    ): "starts the sandbox, our own interpreter, with nothing of the file in its words",
    (
        "modelyard.serve.http.forms.markup",
        "xml",
    ): "expat itself, with declarations of entities refused; no parser that fetches",
    ("modelyard.store.https", "urllib3"): "bundles and images go where the operator says; no server imports it",
    (
        "modelyard.store.logins",
        "subprocess",
    ): "the operator's own credential helpers, by names that can be no path; no server imports it",
    ("modelyard.serve.recruits", "subprocess"): "starts workers: our own interpreter, without a word from outside",
    ("modelyard.serve.supervisor", "subprocess"): "waits for the workers that recruits became",
}
#: Who speaks with registries and object stores.
OUTWARD = {
    "modelyard.store.https", "modelyard.store.tokens", "modelyard.store.logins", "modelyard.store.distribution",
    "modelyard.store.buckets", "modelyard.store.objects", "modelyard.store.blobs.objects",
}  # fmt: skip


def _found(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS or called.startswith(_STARTS):
                yield called
            continue
        else:
            continue
        for name in names:
            yield from {kind for kind in MODULES if name == kind or name.startswith(f"{kind}.")}


def _doings() -> set[tuple[str, str]]:
    """Module and what it does, of all rooms of a server."""
    rooms = tuple(f"modelyard.{room}" for room in ROOMS)
    return {
        (module.name, what) for module in modules() if module.name.startswith(rooms) for what in _found(module.tree)
    }


def test_no_room_of_a_server_does_any_of_it() -> None:
    assert _doings() - ALLOWED.keys() == set()


def test_every_exception_is_still_one() -> None:
    assert ALLOWED.keys() - _doings() == set()


def test_no_server_imports_what_calls_out() -> None:
    """Not by any way, nor late: what a server's modules import, and what those import, and so on."""
    known = {module.name: module for module in modules()}
    reached, ahead = set(), [name for name in known if name.startswith("modelyard.serve")]
    while ahead:
        name = ahead.pop()
        if name in known and name not in reached:
            reached.add(name)
            ahead += _imported(known[name].tree)
    assert len(reached) > 50
    assert "modelyard.store.files" in reached
    assert reached & OUTWARD == set()


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("def f():\n    import marshal as m", "marshal"),
        ("import http.client as c", "http.client"),
        ("from http import client", "http.client"),
        ("from urllib import request", "urllib.request"),
        ("import xml.etree.ElementTree", "xml"),
        ("eval('1')", "eval"),
        ("os.execv('x', [])", "os.execv"),
        ("socket.create_connection(('x', 1))", "socket.create_connection"),
    ],
)
def test_it_would_be_found(source: str, what: str) -> None:
    assert what in set(_found(ast.parse(source)))
