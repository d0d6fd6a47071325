"""Put into server processes by `tests.acceptance.serving`: writes down what no server does, as the interpreter sees it.

Python imports a module of this name before anything else where it is on its path, so nothing comes earlier. What is
allowed is in one table, with who does it and why; everything else of `EVENTS` becomes a line of the file of this
process, with its stack. A process begins its file with its command line, so that processes can be counted.
"""

import json
import os
import runpy
import sys
import traceback

#: What is watched: code that is made or run, processes, connections, foreign libraries, databases.
EVENTS = frozenset(
    {
        "pickle.find_class", "marshal.loads", "marshal.load", "marshal.dumps", "exec", "compile", "code.__new__",
        "function.__new__", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
        "os.forkpty", "pty.spawn", "os.startfile", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
        "socket.gethostbyaddr", "socket.getnameinfo", "socket.sendto", "http.client.connect", "urllib.Request",
        "ftplib.connect", "smtplib.connect", "webbrowser.open", "ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function",
        "sqlite3.connect", "sqlite3.load_extension", "sys.addaudithook",
    }
)  # fmt: skip

SUPERVISOR, WORKER, BOTH = "supervisor", "worker", "both"
#: Who may do what, beside imports: the process, the event, the module that does it or the nearest of ours, and why.
ALLOWED = (
    (BOTH, "compile", "typing", "annotations of our own classes are text until msgspec asks what they mean"),
    (BOTH, "exec", "typing", "as above"),
    (WORKER, "ctypes.dlopen", "modelyard.serve.memory", "the allocator is told to give memory back"),
    (WORKER, "ctypes.dlsym", "modelyard.serve.memory", "as above"),
    (WORKER, "ctypes.call_function", "modelyard.serve.memory", "as above"),
    (SUPERVISOR, "subprocess.Popen", "modelyard.serve.recruits", "it starts its workers"),
    (SUPERVISOR, "subprocess.Popen", "modelyard.model.sandbox", "a folder's pickles are opened in the sandbox"),
    (SUPERVISOR, "ctypes.dlopen", "modelyard.model.worker", "the kernel is asked which layers of the sandbox it has"),
    (SUPERVISOR, "ctypes.dlsym", "modelyard.model.worker", "as above"),
    (SUPERVISOR, "ctypes.call_function", "modelyard.model.worker", "as above"),
    (SUPERVISOR, "compile", "modelyard.model.folders._pbtxt", "a text in Triton's settings is a literal, never code"),
    (SUPERVISOR, "subprocess.Popen", "modelyard.guard.keysources", "the operator's command opens the master key"),
    (
        SUPERVISOR,
        "subprocess.Popen",
        "modelyard.control.actions.lend",
        "a process of its own lays bundles out in memory",
    ),
    (SUPERVISOR, "socket.connect", "modelyard.control.actions.jwks", "issuers the operator trusts are asked for keys"),
    (SUPERVISOR, "socket.getaddrinfo", "modelyard.control.actions.jwks", "as above"),
    (SUPERVISOR, "http.client.connect", "modelyard.control.actions.jwks", "as above"),
    (SUPERVISOR, "socket.connect", "modelyard.guard.sinks", "checkpoints go where the operator says"),
    (SUPERVISOR, "socket.getaddrinfo", "modelyard.guard.sinks", "as above"),
    (SUPERVISOR, "http.client.connect", "modelyard.guard.sinks", "as above"),
    (SUPERVISOR, "sqlite3.connect", "modelyard.store.database", "the registry; no worker opens it"),
)


def _role():
    return WORKER if "modelyard.serve" in sys.orig_argv else SUPERVISOR


def _callers(frame):
    while frame is not None:
        yield frame
        frame = frame.f_back


def _of_an_import(frame):
    """Whether a module is being imported, which compiles and runs it; `runpy` and `site` do so for the first ones."""
    if frame.f_code.co_filename in {"<frozen runpy>", "<frozen site>", "<frozen importlib._bootstrap_external>"}:
        return True
    return any(caller.f_code.co_filename == "<frozen importlib._bootstrap>" for caller in _callers(frame))


def _allowed(event, frame):
    names = [str(caller.f_globals.get("__name__", "")) for caller in _callers(frame)]
    ours = next((name for name in names if name.startswith("modelyard")), "")
    return any(role in {_role(), BOTH} and event == what and who in {names[0], ours} for role, what, who, _ in ALLOWED)


def _write(line):
    folder = os.environ["WATCHED"]
    fd = os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    finally:
        os.close(fd)


def _hook(event, arguments):
    if event not in EVENTS:
        return
    frame = sys._getframe().f_back
    if frame is None or _of_an_import(frame) or _allowed(event, frame):  # None: the interpreter's own first program
        return
    stack = "".join(traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False).format())
    _write({"event": event, "arguments": repr(arguments)[:500], "role": _role(), "stack": stack})


def _others():
    """Run the module of this name that a test has put further down the path."""
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        path = f"{folder}/sitecustomize.py"
        if path != __file__ and os.access(path, os.R_OK):
            runpy.run_path(path)


if "WATCHED" in os.environ:
    _others()
    _write({"process": sys.orig_argv})
    sys.addaudithook(_hook)
