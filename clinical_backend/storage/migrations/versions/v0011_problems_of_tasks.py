"""Why an answer has no readable class, and when an image was last looked at, or found replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns, which the next rounds fill."""
    op.add_column("task_images", sa.Column("looked_at", sa.Double()))
    op.add_column("task_images", sa.Column("mark", sa.String()))
    op.add_column("task_images", sa.Column("replaced_at", sa.Double()))
    op.add_column("task_labels", sa.Column("unread", sa.String()))
    op.add_column("task_labels", sa.Column("changed_at", sa.Double()))
