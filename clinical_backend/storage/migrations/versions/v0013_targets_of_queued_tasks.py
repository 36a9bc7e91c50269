"""Which of several findings a queued task is sought for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column, which the next rounds fill."""
    op.add_column("queued_tasks", sa.Column("targets", sa.JSON()))
