"""Protobuf messages from tables of text, in descriptor pools of our own.

The default pool is shared by everything in a process, and a client's library that describes the same names there in
other words would clash with ours.

A message is the line of its fields, "name:type", numbered 1, 2, 3, ... or from "name@17" on; [type] is repeated, {type}
is a map from strings, "choice/name" is one of a choice. A type that is no scalar is a message or an enum of the same
table; "A.B" lies inside A.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError


@dataclass(frozen=True)
class Method:
    """One call of a service: the names of what is asked and answered, and which of them are streams."""

    name: str
    request: str
    response: str
    streaming: bool = False
    pushing: bool = False

    @property
    def pushes(self) -> bool:
        """Whether there may be several answers."""
        return self.streaming or self.pushing


class Schema:
    """One service and its messages.

    Parameters
    ----------
    service : str
        Its full name; what comes before the last dot is the package of the messages.
    methods : sequence of Method
        Its calls.
    messages, enums : mapping of str to str
        As above; the values of an enum are its names, numbered from 0.
    """

    def __init__(
        self, service: str, methods: Sequence[Method], messages: Mapping[str, str], enums: Mapping[str, str]
    ) -> None:
        self.service = service
        self.package, _, short = service.rpartition(".")
        self.file = f"modelyard/{self.package.replace('.', '/')}.proto"
        self._enums = enums
        file = descriptor_pb2.FileDescriptorProto(name=self.file, package=self.package, syntax="proto3")
        self._add_messages(file, messages)
        described = file.service.add(name=short)
        for method in methods:
            described.method.add(
                name=method.name,
                input_type=f".{self.package}.{method.request}",
                output_type=f".{self.package}.{method.response}",
                client_streaming=method.streaming,
                server_streaming=method.pushes,
            )
        self.pool = descriptor_pool.DescriptorPool()
        self.serialized = file.SerializeToString()
        self.pool.AddSerializedFile(self.serialized)

    def message(self, name: str) -> Any:
        """The class of this message."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"{self.package}.{name}"))

    def has(self, symbol: str) -> bool:
        """Whether it describes this message, field, service or method."""
        try:
            self.pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return False
        return True

    def _add_messages(self, file: Any, messages: Mapping[str, str]) -> None:
        made: dict[str, Any] = {}
        for name, line in messages.items():
            outer, _, inner = name.rpartition(".")
            made[name] = message = made[outer].nested_type.add() if outer else file.message_type.add()
            message.name = inner
            self._add_fields(message, f".{self.package}.{name}", line)
        for name, values in self._enums.items():
            outer, _, inner = name.rpartition(".")
            enum = (made[outer] if outer else file).enum_type.add(name=inner)
            for number, value in enumerate(values.split()):
                enum.value.add(name=value, number=number)

    def _add_fields(self, message: Any, full_name: str, line: str) -> None:
        number = 0
        choices: list[str] = []
        for choice, name, given, wrapping, of in _LINE.findall(line):
            number = int(given) if given else number + 1
            field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
            self._set_type(field, of)
            if wrapping:
                field.label = _FIELD.LABEL_REPEATED
            if wrapping == "{":
                entry = self._add_entry(message, name, of)
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f"{full_name}.{entry}"
            if choice:
                if choice not in choices:
                    choices.append(choice)
                    message.oneof_decl.add(name=choice)
                field.oneof_index = choices.index(choice)

    def _set_type(self, field: Any, of: str) -> None:
        if of in _SCALARS:
            field.type = _SCALARS[of]
        else:
            field.type = _FIELD.TYPE_ENUM if of in self._enums else _FIELD.TYPE_MESSAGE
            field.type_name = f".{self.package}.{of}"

    def _add_entry(self, message: Any, name: str, of: str) -> str:
        """The message that protobuf makes of a map's pairs; its name is prescribed."""
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
        self._set_type(entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL), of)
        return str(entry.name)


_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "float": _FIELD.TYPE_FLOAT,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}
_LENGTH_DELIMITED, _SEVEN_BITS, _MORE = 2, 0x7F, 0x80
_LINE = re.compile(r"(?:(\w+)/)?(\w+)(?:@(\d+))?:([\[{]?)([\w.]+)[\]}]?")


def reader(kind: Any) -> Callable[[bytes], Any]:
    """Reads messages of this class; None for bytes that are none."""

    def read(raw: bytes) -> Any:
        try:
            return kind.FromString(raw)
        except DecodeError:
            return None

    return read


def tag(kind: Any, field: str) -> bytes:
    """What a field of bytes or a message begins with on the wire."""
    return varint(kind.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


def varint(number: int) -> bytes:
    """A number >= 0 on the wire."""
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)
