"""Tables of who may and of what was done; `store/migrations` makes them, a test keeps the two alike."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.store.columns import METADATA, Moment

#: API keys. A key that was revoked keeps its row: records of what it did name it.
KEYS = sa.Table(
    "keys",
    METADATA,
    sa.Column("id", sa.String(10), primary_key=True),
    sa.Column("environment", sa.String(16), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("networks", sa.JSON, nullable=False),
    sa.Column("rate", sa.String(63), nullable=False),
    sa.Column("not_before", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("life_s", sa.Integer, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("revoked_at", Moment, nullable=True),
    sa.Column("last_used_at", Moment, nullable=True),
)
#: What is kept of a key's secrets: one, or two while it is being rotated.
SECRETS = sa.Table(
    "secrets",
    METADATA,
    sa.Column("key_id", sa.String(10), sa.ForeignKey("keys.id"), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("pepper", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=True),
)
#: What was done, by whom: each record's hash holds the hash of the one before it.
AUDIT = sa.Table(
    "audit",
    METADATA,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("action", sa.String(63), nullable=False),
    sa.Column("object", sa.String(255), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
#: Public keys whose signatures count, each for the models that a pattern stands for.
TRUSTED = sa.Table(
    "trusted",
    METADATA,
    sa.Column("key_id", sa.String(64), primary_key=True),
    sa.Column("models", sa.String(63), primary_key=True),
    sa.Column("public", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)
#: The least version of a model that its signature may name.
MINIMUMS = sa.Table(
    "minimums",
    METADATA,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)
