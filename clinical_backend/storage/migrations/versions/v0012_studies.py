"""The images of tasks with several, and which of them put a task into a queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table and the columns, which the next rounds fill."""
    op.create_table(
        "study_images",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("view", sa.String(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("digest", sa.String()),
        sa.Column("problem", sa.String()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.Double()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "task_id", "position"),
    )
    op.add_column("queued_tasks", sa.Column("image", sa.Integer()))
    op.add_column("queued_tasks", sa.Column("images", sa.Integer()))
    op.add_column("queued_tasks", sa.Column("view", sa.String()))
