"""Which fields the tasks of a project have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column."""
    op.add_column("projects", sa.Column("task_fields", sa.JSON(), nullable=False, server_default="[]"))
