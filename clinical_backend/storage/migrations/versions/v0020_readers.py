"""What each reader answered, and what readers are called."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the table and the column, which the next round fills."""
    op.create_table(
        "readings",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String()),
        sa.Column("answered_at", sa.Double()),
        sa.Column("lead_time", sa.Double()),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "annotation_id"),
    )
    op.add_column("projects", sa.Column("reader_names", sa.JSON(), nullable=False, server_default="{}"))
