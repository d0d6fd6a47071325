"""Targets, and the releases that were put on them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Two tables; rows of releases are never removed, so that no number is used twice."""
    op.create_table(
        "targets",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("target", sa.String(63), primary_key=True),
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("access", sa.String(64), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32), nullable=True),
        sa.CheckConstraint("number > 0", name="number_is_positive"),
    )


def downgrade() -> None:
    """Back to what was before anything was deployed."""
    for table in ("releases", "targets"):
        op.drop_table(table)
