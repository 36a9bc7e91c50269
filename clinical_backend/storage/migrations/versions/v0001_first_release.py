"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created", sa.String()),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("label_config", sa.String()),
        sa.Column("published_version", sa.String()),
        sa.Column("request", sa.String()),
        sa.Column("requested_at", sa.Double()),
        sa.Column("updates", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("queue_left", sa.Integer(), nullable=False),
        sa.Column("listed_at", sa.Double(), nullable=False),
        sa.Column("address", sa.String()),
        sa.Column("wiring_due", sa.Boolean(), nullable=False),
        sa.Column("adaptation", sa.String()),
        sa.Column("problem", sa.String()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "rounds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("error", sa.String()),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "number"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "queued_tasks",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("draw", sa.String(7), nullable=False),
        sa.Column("predicted", sa.String()),
        sa.Column("rare_probability", sa.Double()),
        sa.Column("nearest_exemplar", sa.Integer()),
        sa.Column("similarity", sa.Double()),
        sa.PrimaryKeyConstraint("round_id", "rank"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_queued_tasks_task_id", "queued_tasks", ["task_id"])
    op.create_table(
        "task_images",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("digest", sa.String()),
        sa.Column("problem", sa.String()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.Double()),
        sa.PrimaryKeyConstraint("project_id", "task_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "features",
        sa.Column("backbone", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("backbone", "digest"),
    )
    op.create_index("features_by_digest", "features", ["digest"])
    op.create_table(
        "task_labels",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String()),
        sa.Column("steer", sa.Integer(), nullable=False),
        sa.Column("draw", sa.String(7), nullable=False),
        sa.Column("round_number", sa.Integer()),
        sa.Column("labelled_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "task_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], ondelete="CASCADE"),
    )
