"""How each label came about, when queues were switched to, calibrated chances, what the lead declined; no address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Sequence

revision = "0005"
down_revision = "0004"

_CANDIDATES = 2
"""Queues that readers may have had between two rounds' looks at the labels: the last one, and the one before it."""


def upgrade() -> None:
    """Add the columns, and give labels back the draws that were lost while a round ran."""
    op.add_column("rounds", sa.Column("switched_at", sa.Double()))
    op.drop_column("projects", "address")  # none is taken from a request
    op.add_column("projects", sa.Column("declined", sa.JSON(), nullable=False, server_default="[]"))
    for name in ("chance", "chance_low", "chance_high"):
        op.add_column("queued_tasks", sa.Column(name, sa.Double()))
    with op.batch_alter_table("task_labels") as table:
        table.add_column(sa.Column("origin", sa.String(11), nullable=False, server_default="PAST_QUEUE"))
        table.add_column(sa.Column("readings", sa.Integer(), nullable=False, server_default="1"))
        table.alter_column("draw", existing_type=sa.String(7), nullable=True)
    labels = sa.table("task_labels", *map(sa.column, ("project_id", "task_id", "origin", "draw", "round_number")))
    op.execute(labels.update().where(labels.c.draw != "OTHER").values(origin="QUEUE"))
    op.execute(labels.update().where(labels.c.draw == "OTHER").values(draw=None))
    _find_lost_draws(op.get_bind())


def _find_lost_draws(connection: sa.Connection) -> None:
    """Look for labels from no queue in the queues that readers had when they were read back.

    A label that was given while a round ran was compared with the new queue only, and is in the one before.
    """
    rounds = sa.text(
        "SELECT id, number, finished_at FROM rounds WHERE project_id = :project AND state = 'PUBLISHED'"
        " AND finished_at IS NOT NULL AND id IN (SELECT round_id FROM queued_tasks) ORDER BY number"
    )
    lost = sa.text("SELECT task_id, labelled_at FROM task_labels WHERE project_id = :project AND draw IS NULL")
    draws = sa.text(
        "SELECT queued_tasks.task_id, queued_tasks.round_id, queued_tasks.draw FROM queued_tasks"
        " JOIN rounds ON rounds.id = queued_tasks.round_id WHERE rounds.project_id = :project"
    )
    found = sa.text(
        "UPDATE task_labels SET origin = :origin, draw = :draw, round_number = :number"
        " WHERE project_id = :project AND task_id = :task"
    )
    for project in connection.scalars(sa.text("SELECT id FROM projects")).all():
        history = connection.execute(rounds, {"project": project}).all()
        waiting = connection.execute(lost, {"project": project}).all()
        if not history or not waiting:
            continue
        held = {(task, queue): draw for task, queue, draw in connection.execute(draws, {"project": project})}
        for task, labelled_at in waiting:
            served = _served(history, labelled_at)
            place = next((one for one in served if (task, one[0]) in held), None)
            number = place[1] if place else served[0][1] if served else None
            values = {"project": project, "task": task, "number": number}
            values |= {"origin": "QUEUE", "draw": held[task, place[0]]} if place else _NO_QUEUE
            connection.execute(found, values)


_NO_QUEUE = {"origin": "PAST_QUEUE", "draw": None}


def _served(history: Sequence[Sequence[Any]], at: float) -> list[Sequence[Any]]:
    """Return the queues that readers may have had shortly before a time, the latest first."""
    return [row for row in reversed(history) if row[2] <= at][:_CANDIDATES]
