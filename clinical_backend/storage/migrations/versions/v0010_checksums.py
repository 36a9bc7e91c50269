"""A checksum of each feature; rows from before get theirs when they are read for the first time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column."""
    op.add_column("features", sa.Column("checksum", sa.BigInteger()))
