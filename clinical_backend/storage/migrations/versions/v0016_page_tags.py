"""Tags that were set on the project's page, which tasks of a queue are told to be answered, and sites of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the table, and the columns."""
    op.create_table(
        "page_tags",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("steer", sa.Integer(), nullable=False),
        sa.Column("tagged_by", sa.String(), nullable=False),
        sa.Column("tagged_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "task_id"),
    )
    op.add_column("queued_tasks", sa.Column("answered_at", sa.Double()))
    op.add_column("task_images", sa.Column("site", sa.String()))
    op.add_column("projects", sa.Column("sited_by", sa.String()))
