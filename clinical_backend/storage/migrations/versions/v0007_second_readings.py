"""Second readings in the ordinary stream, checks on our own page, and the first answer of a tie."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the tables and the column. Where readers were tied before, the next round knows the first answer."""
    op.add_column("task_labels", sa.Column("first_class", sa.String()))
    op.create_table(
        "second_readings",
        _project(),
        sa.Column("task_id", sa.Integer(), primary_key=True),
        sa.Column("state", sa.String(5), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("suspicion", sa.Double()),
        sa.Column("at_random", sa.Boolean(), nullable=False),
        sa.Column("by_lead", sa.Boolean(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("overlap", sa.Integer()),
        sa.Column("raised_to", sa.Integer()),
        sa.Column("read_at", sa.Double()),
        sa.Column("answers", sa.JSON()),
    )
    op.create_table(
        "label_checks",
        _project(),
        sa.Column("task_id", sa.Integer(), primary_key=True),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=False),
    )


def _project() -> sa.Column[int]:
    return sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
