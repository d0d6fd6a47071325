"""TensorFlow Serving's examples: ``{"examples": [{...}], "context": {...}}``, rows of named features."""

from __future__ import annotations

from typing import Any

from modelyard.core.errors import InvalidRequest, WrongType
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.serve.http.forms.document import expect_object, kind, members, parse
from modelyard.serve.http.forms.instances import InstanceForm

#: What the one signature of a model is called where nobody says otherwise.
DEFAULT = "serving_default"


class ExampleForm:
    """The questions of one verb, ``classify`` or ``regress``; made once, when a version is loaded."""

    def __init__(self, signature: Signature, name: str, version: int, verb: str) -> None:
        self._rows = InstanceForm(signature, name, version)
        self._verb = verb

    def decode(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """The arranged arrays of the examples, each with the context in it."""
        asked = members(parse(body), ("examples", "context", "signature_name"))
        check_name(asked.get("signature_name", ""), self._verb)
        context = expect_object(asked.get("context", {}), "context")
        examples = asked.get("examples")
        if not isinstance(examples, list):
            raise WrongType(field="examples", expected="a list of objects", got=kind(examples), where="")
        for at, example in enumerate(examples):
            both = context.keys() & expect_object(example, f"example {at}").keys()
            if both:
                raise InvalidRequest(what=f"{min(both)[:80]!r} is both in the context and in example {at}")
        return self._rows.from_rows([{**context, **example} for example in examples])


def check_name(name: Any, verb: str) -> None:
    """Refuse a ``signature_name`` that is none of the usual ones: a model has one signature."""
    if not isinstance(name, str) or name not in {"", DEFAULT, verb, f"tensorflow/serving/{verb}"}:
        raise InvalidRequest(what=f"no signature {str(name)[:80]!r}", hint=f"leave it out, or say {DEFAULT!r}")
