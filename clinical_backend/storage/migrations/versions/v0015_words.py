"""Words that stand for findings, and which of them a queued task is like."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table, and the column, which the next rounds fill."""
    op.create_table(
        "finding_words",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("finding", sa.String(), nullable=False),
        sa.Column("phrasings", sa.JSON(), nullable=False),
        sa.Column("contrasts", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("backbone", sa.String()),
        sa.Column("places", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "finding"),
    )
    op.add_column("queued_tasks", sa.Column("words", sa.String()))
