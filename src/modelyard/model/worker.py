"""The child's side of the sandbox: a file run as ``python -I worker.py``, which locks itself in and then does one task.

Everything above `main` happens before anything heavy is imported: Landlock restricts only the calling thread, so the
process must still be single-threaded. Layers, from the inside out: resource limits; no new privileges, not dumpable,
killed with its parent; Landlock (may read the interpreter and the libraries, nothing else); seccomp (an allow-list:
no network, no processes, no signals, no exec). The parent is `sandbox`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

#: What a child can be asked to do: a function (facts, blobs) -> (facts, blobs).
TASKS = {
    "convert": "modelyard.model.convert:answer",
    "inspect": "modelyard.model.hostile:answer",
}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every architecture
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_ABI_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_TCP_BIND_AND_CONNECT = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3
_CLONE_THREAD = 0x10000
_PROT_EXEC = 4
_IOCTLS = (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONBIO FIONREAD FIONCLEX FIOCLEX
_FCNTLS = (0, 1, 2, 3, 1030)  # DUPFD GETFD SETFD GETFL DUPFD_CLOEXEC
_ALLOW = """
read readv pread64 write writev pwrite64 lseek close dup fstat newfstatat stat lstat statx access faccessat
faccessat2 readlink readlinkat getcwd openat open getdents64 mmap munmap mremap madvise brk futex set_robust_list
get_robust_list rseq rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack sched_yield sched_getaffinity sched_getparam
sched_getscheduler getpid gettid getppid getuid geteuid getgid getegid getrandom clock_gettime clock_getres
clock_nanosleep nanosleep gettimeofday time times getrusage sysinfo uname getrlimit exit exit_group poll ppoll select
pselect6 pipe2 eventfd2 set_tid_address arch_prctl membarrier restart_syscall get_mempolicy getcpu umask mlock
munlock
""".split()  # noqa: SIM905 - eighty names are read better so


def _syscall(number: int, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return _syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def seccomp_library() -> Any:
    """The package pyseccomp over libseccomp; raises when either is not there."""
    import pyseccomp  # noqa: PLC0415 - Linux only, and only in a child or a probe

    return pyseccomp


def restrict_files(readable: Iterable[str], abi: int) -> None:
    """Landlock: this thread may read `readable` and what is below, and touch no other file, TCP port or process."""
    rights = _ABI_1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        rights |= right if abi >= since else 0
    net = _TCP_BIND_AND_CONNECT if abi >= 4 else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    attributes = struct.pack("QQQ", rights, net, scoped)[:size]
    ruleset = _syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path in readable:
        with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            _allow_reading(ruleset, path)
    _syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112 - pathlib is not imported here
        rule = ctypes.c_char_p(struct.pack("=Qi", rights, fd))
        _syscall(_LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(fd)


def restrict_calls() -> None:
    """seccomp: every system call that is not on the list fails with EPERM, in all threads."""
    lib = seccomp_library()
    rules = lib.SyscallFilter(lib.ERRNO(errno.EPERM))
    rules.set_attr(lib.Attr.CTL_TSYNC, 1)
    for name in _ALLOW:
        with contextlib.suppress(OSError, ValueError):  # a name that this architecture does not have
            rules.add_rule(lib.ALLOW, name)
    for request in _IOCTLS:
        rules.add_rule(lib.ALLOW, "ioctl", lib.Arg(1, lib.EQ, request))
    for command in _FCNTLS:
        rules.add_rule(lib.ALLOW, "fcntl", lib.Arg(1, lib.EQ, command))
    rules.add_rule(lib.ALLOW, "prlimit64", lib.Arg(0, lib.EQ, 0), lib.Arg(2, lib.EQ, 0))  # ask one's own limits
    rules.add_rule(lib.ALLOW, "mprotect", lib.Arg(2, lib.MASKED_EQ, _PROT_EXEC, 0))
    rules.add_rule(lib.ALLOW, "clone", lib.Arg(0, lib.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))  # threads only
    rules.add_rule(lib.ERRNO(errno.ENOSYS), "clone3")  # its flags are in memory; the C library falls back to clone
    rules.load()


def limit_resources(*, cpu_s: int, memory_bytes: int) -> None:
    """Limits that hold in trusted children too: CPU, memory, file size, descriptors, no core dump."""
    limits = [("RLIMIT_CPU", cpu_s), ("RLIMIT_FSIZE", 0), ("RLIMIT_NOFILE", 128), ("RLIMIT_CORE", 0)]
    if sys.platform.startswith("linux"):  # elsewhere RLIMIT_AS counts the shared cache of the system libraries
        limits.append(("RLIMIT_AS", memory_bytes))
    for name, value in limits:
        which = getattr(resource, name)
        ceiling = resource.getrlimit(which)[1]
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(which, (value, value))


def lock(readable: Iterable[str]) -> None:
    """All layers, or an exception."""
    tasks = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - pathlib is not imported here
    if tasks != 1:
        raise RuntimeError(f"{tasks} threads are running; a lock would hold only one")
    seccomp_library()  # found now: finding it needs processes
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, _SIGKILL)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    abi = landlock_abi()
    if abi < 1:
        raise RuntimeError("Landlock is not available")
    restrict_files(readable, abi)
    restrict_calls()


def _read_exactly(fd: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            raise EOFError("the request is cut off")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _write(fd: int, facts: dict[str, Any], blobs: list[bytes]) -> None:
    header = json.dumps({"facts": facts, "blobs": [len(blob) for blob in blobs]}, allow_nan=False).encode()
    view = memoryview(b"".join([len(header).to_bytes(8, "little"), header, *blobs]))
    while view:
        view = view[os.write(fd, view) :]


def _borrow_package(folder: str) -> None:
    """Import `modelyard` from its folder without listing the folder around it, which Landlock does not let us read."""
    spec = importlib.util.spec_from_file_location(
        "modelyard", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules["modelyard"] = module
    spec.loader.exec_module(module)


def _perform(task: str, facts: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    module, _, name = TASKS[task].partition(":")
    run: Callable[[dict[str, Any], list[bytes]], tuple[dict[str, Any], list[bytes]]] = getattr(
        import_module(module), name
    )
    return run(facts, blobs)


def _trouble(exc: BaseException) -> dict[str, Any]:
    """The exception as plain data; never a pickled one."""
    if hasattr(exc, "to_wire"):
        wire: dict[str, Any] = exc.to_wire()
        plain: dict[str, Any] = json.loads(json.dumps(wire, default=str))
        return plain
    if isinstance(exc, MemoryError):
        return {"code": "MODEL-SANDBOX", "facts": {"what": "it needs more memory than the sandbox allows"}}
    text = (str(exc).strip().splitlines() or [""])[0]
    return {"code": "MODEL-INVALID", "facts": {"what": f"it cannot be read ({type(exc).__name__}: {text[:200]})"}}


def main() -> None:
    """One request on one descriptor, one answer on another; see `sandbox`."""
    source, sink = int(sys.argv[1]), int(sys.argv[2])
    header = json.loads(_read_exactly(source, int.from_bytes(_read_exactly(source, 8), "little")))
    blobs = [_read_exactly(source, size) for size in header["blobs"]]
    os.close(source)
    sys.path += [path for path in header["packages"] if path not in sys.path]  # the lock's own library is in one
    try:
        limit_resources(cpu_s=header["cpu_s"], memory_bytes=header["memory_bytes"])
        if header["lock"]:
            lock(header["readable"])
    except Exception as exc:  # noqa: BLE001 - process border: whatever the kernel says, it means "no lock"
        _write(sink, {"unlocked": f"{type(exc).__name__}: {exc}"}, [])
        return
    try:
        _borrow_package(header["package"])
        facts, answers = _perform(header["task"], header["facts"], blobs)
    except BaseException as exc:  # noqa: BLE001 - process border: a foreign file may raise anything, SystemExit too
        facts, answers = {"error": _trouble(exc)}, []
    _write(sink, facts, answers)


if __name__ == "__main__":
    main()
