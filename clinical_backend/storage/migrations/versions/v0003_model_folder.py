"""The identity by which a database knows its model folder."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table with its one row."""
    table = op.create_table(
        "model_folder",
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("bound", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("identity"),
    )
    op.bulk_insert(table, [{"identity": secrets.token_hex(8), "bound": False}])
