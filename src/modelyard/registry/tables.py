"""The catalogue's tables; `store/migrations` makes them, a test keeps the two alike."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.store.columns import METADATA, Moment

#: A model that was removed keeps its row: `last_version` makes sure that no number is ever used twice.
MODELS = sa.Table(
    "models",
    METADATA,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("last_version", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)
VERSIONS = sa.Table(
    "versions",
    METADATA,
    sa.Column("name", sa.String(63), sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("task", sa.String(32), nullable=False),
    sa.Column("source_format", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.CheckConstraint("version > 0", name="version_is_positive"),
)
ALIASES = sa.Table(
    "aliases",
    METADATA,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("alias", sa.String(63), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["name", "version"], ["versions.name", "versions.version"], name="alias_of_version"),
)
#: Signatures, by the bundle that each is of: signing gives no new version, so they are kept beside it.
SIGNATURES = sa.Table(
    "signatures",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)
#: Where deployments run, as they were told to us.
TARGETS = sa.Table(
    "targets",
    METADATA,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)
#: Every release that was ever begun: rows are never removed, so that no number is ever used twice. A target need not
#: have a row, since a kind can stand for itself.
RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("target", sa.String(63), primary_key=True),
    sa.Column("deployment", sa.String(63), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("access", sa.String(64), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("finished_at", Moment, nullable=True),
    sa.CheckConstraint("number > 0", name="number_is_positive"),
)
