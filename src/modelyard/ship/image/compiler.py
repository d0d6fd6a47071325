"""The child of `bytecode`: modules in, bytecode out. A program of its own that imports nothing but what it needs.

Both streams are ``size, bytes, size, bytes, ...`` with sizes of four bytes, little-endian: in go path and source of
each module, out comes its bytecode, empty where it does not compile.
"""

from __future__ import annotations

import importlib.util
import marshal
import struct
import sys

_SIZE = struct.Struct("<I")
#: Hash-based, and never checked against the source: PEP 552.
_FLAGS = 1


def bytecode(path: bytes, source: bytes) -> bytes:
    """What would be in the ``.pyc`` file of this source; empty when it is no Python."""
    try:
        code = compile(source, path.decode("utf-8", "surrogateescape"), "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):  # ValueError: a NUL in it
        return b""
    head = importlib.util.MAGIC_NUMBER + _SIZE.pack(_FLAGS) + importlib.util.source_hash(source)
    return head + marshal.dumps(code)


def main() -> None:
    """Answer until the input ends."""
    asked, answer = sys.stdin.buffer, sys.stdout.buffer
    while head := asked.read(_SIZE.size):
        path = asked.read(_SIZE.unpack(head)[0])
        (size,) = _SIZE.unpack(asked.read(_SIZE.size))
        made = bytecode(path, asked.read(size))
        answer.write(_SIZE.pack(len(made)) + made)


if __name__ == "__main__":
    main()
