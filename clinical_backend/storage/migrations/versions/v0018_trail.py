"""The trail, which only grows, and what readers of a queue were shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_SQLITE = (
    """CREATE TRIGGER trail_keeps_rows BEFORE DELETE ON trail
    BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
    """CREATE TRIGGER trail_keeps_values BEFORE UPDATE ON trail
    BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
    # INSERT OR REPLACE deletes without the trigger of deletions.
    """CREATE TRIGGER trail_goes_on BEFORE INSERT ON trail
    WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM trail)
    BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
)
_POSTGRESQL = (
    """CREATE FUNCTION refuse_change_of_trail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the trail is append-only'; END $$""",
    """CREATE TRIGGER trail_keeps_rows BEFORE UPDATE OR DELETE ON trail
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_trail()""",
    """CREATE TRIGGER trail_keeps_table BEFORE TRUNCATE ON trail
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_trail()""",
)


def upgrade() -> None:
    """Add the table with its triggers, and the columns, of which nothing is known for what is there."""
    op.create_table(
        "trail",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("through", sa.String(), nullable=False),
        sa.Column("project_id", sa.Integer()),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("details", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("trail_by_project", "trail", ["project_id", "number"])
    op.create_index("trail_by_action", "trail", ["project_id", "action", "number"])
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
    op.add_column("queued_tasks", sa.Column("preannotated", sa.Boolean()))
    op.add_column("task_labels", sa.Column("shown_prediction", sa.String(), nullable=False, server_default="unknown"))
