"""The key table: the file of live keys between the control plane, which writes it, and replicas, which obey it."""

from __future__ import annotations

import msgspec

from modelyard.core.errors import InvalidRequest

TABLE_VERSION = 1


class KeptSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of one secret: its digest, the number of its pepper, and its end in seconds since 1970, if any."""

    digest: str
    pepper: int
    expires_s: float | None = None


class KeptKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key that was not revoked, nor any that it was made by.

    Parameters
    ----------
    id : str
        Its public part.
    name : str
        What its owner calls it.
    scopes : tuple of str
        What it may (`core.identity.parse_scope`), already narrowed to what its creator may today.
    secrets : tuple of KeptSecret
        One, or two while it is being rotated.
    not_before_s, expires_s : float
        From when until when it is valid, in seconds since 1970.
    networks : tuple of str
        From where it may be used, such as ``10.0.0.0/8``; from anywhere when empty.
    rate : str
        Name of its rate class; empty for the usual one.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    secrets: tuple[KeptSecret, ...]
    not_before_s: float
    expires_s: float
    networks: tuple[str, ...] = ()
    rate: str = ""


class KeyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All keys that may be used, or could until they ended; what is not in it opens nothing."""

    table_version: int = TABLE_VERSION
    keys: tuple[KeptKey, ...] = ()

    def __post_init__(self) -> None:
        if self.table_version != TABLE_VERSION:
            raise ValueError(f"key table version {self.table_version}, this Modelyard reads {TABLE_VERSION}")
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ValueError("a key is there twice")

    def to_bytes(self) -> bytes:
        """The table as the bytes of ``keys.json``."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> KeyTable:
        """The table in these bytes; `InvalidRequest` when they are not one."""
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidRequest(what=f"the key table is not valid: {exc}") from exc
