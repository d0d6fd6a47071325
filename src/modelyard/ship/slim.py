"""Which files of a base image a Python server needs, and which files of its packages it does not.

Everything here is of the standard library, and nothing of Modelyard: the same file runs inside of a Docker build.
"""

from __future__ import annotations

import re

#: Files of packages that no server reads: tests, types, sources in C, and parts of libraries that ours never imports.
_SUPERFLUOUS = re.compile(
    r"""(?x)
    (?: .*/ )? (?: tests? | __pycache__ ) /                        # folders, wherever they are
    | .* \. (?: pyi | pyx | pxd | pxi | c | h | hpp | cpp | cc | a | lib | exe | f | f90 ) $
    | [^/]+\.dist-info/ (?: RECORD | INSTALLER | REQUESTED | direct_url\.json ) $  # speak of files as pip left them
    | bin/ | include/                                              # programs; headers
    | onnxruntime/ (?: transformers | tools | quantization | datasets | backend ) /
    | onnxruntime/capi/libonnxruntime\.so                          # nothing links it: its Python module has all of it
    | numpy/ (?: f2py | distutils | _pyinstaller ) /
    """
)


def superfluous(path: str) -> bool:
    """Whether a file below the library of an image can be left out of it."""
    return _SUPERFLUOUS.match(path) is not None
