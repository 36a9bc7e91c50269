"""Leases of projects, in place of locks that only the death of a process released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table; nobody holds a project when the tables are changed."""
    op.create_table(
        "project_leases",
        sa.Column("project_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("signs", sa.Integer(), nullable=False),
        sa.Column("sign_at", sa.Double(), nullable=True),
        sa.Column("progress_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("project_id"),
    )
