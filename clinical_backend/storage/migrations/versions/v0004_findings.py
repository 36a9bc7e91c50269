"""What the dashboard shows: options of a page, patients, readers' tags and conflicts, and suspected labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns and the table; labels from before name no reader until they are read back."""
    op.add_column("projects", sa.Column("title", sa.String()))
    op.add_column("projects", sa.Column("page_options", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("projects", sa.Column("grouped_by", sa.String()))
    op.add_column("task_images", sa.Column("group_key", sa.String()))
    op.add_column("task_labels", sa.Column("tagged_by", sa.String()))
    op.add_column("task_labels", sa.Column("tagged_at", sa.Double()))
    op.add_column("task_labels", sa.Column("answers", sa.JSON()))
    op.create_table(
        "suspected_labels",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("suspicion", sa.Double(), nullable=False),
        sa.Column("rare_probability", sa.Double()),
        sa.Column("nearest_exemplar", sa.Integer()),
        sa.Column("similarity", sa.Double()),
        sa.PrimaryKeyConstraint("project_id", "task_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    )
