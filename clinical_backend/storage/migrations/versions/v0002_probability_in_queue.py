"""The probability of the predicted class, so that a queue can be published again as it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; queues from before have none."""
    op.add_column("queued_tasks", sa.Column("probability", sa.Double()))
