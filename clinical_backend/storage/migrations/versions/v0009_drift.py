"""What was changed in Label Studio beside the backend, and who else serves a project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns; a project with a queue was connected once: what differs now was changed since."""
    op.add_column("projects", sa.Column("drift", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("projects", sa.Column("standing_back", sa.String()))
    projects = sa.table("projects", sa.column("drift", sa.JSON()), sa.column("published_version"))
    op.execute(projects.update().where(projects.c.published_version.is_not(None)).values(drift={"wired": True}))
