"""Features of images that may have been misread are forgotten: TIFF, 16-bit PNG and DICOM of some kinds.

What an image was is not kept, so its address decides: JPEG, WebP, GIF and BMP were read as they are now, and keep their
features. Of what else is forgotten the next round makes features anew; networks, classifiers and queues stay.
"""

from __future__ import annotations

from itertools import islice
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_SURE_NAMES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp")
_SURE_TYPES = ("data:image/jpeg", "data:image/webp", "data:image/gif", "data:image/bmp")
_AT_A_TIME = 500  # well below the 999 variables of a statement in SQLite before 3.32


def upgrade() -> None:
    """Forget where their features stand; the rows of the feature files stay, unused. What was refused is tried soon."""
    connection = op.get_bind()
    images = connection.execute(sa.text("SELECT digest, uri FROM task_images WHERE digest IS NOT NULL"))
    doubtful = iter({digest for digest, uri in images if not _is_surely_right(uri)})
    features = sa.table("features", sa.column("digest"))
    while part := list(islice(doubtful, _AT_A_TIME)):
        connection.execute(features.delete().where(features.c.digest.in_(part)))
    connection.execute(sa.text("UPDATE task_images SET attempts = 0, tried_at = NULL WHERE problem IS NOT NULL"))


def _is_surely_right(uri: str) -> bool:
    if uri.startswith("data:"):
        return uri[:20].lower().startswith(_SURE_TYPES)
    try:
        address = urlsplit(uri)
        names = [address.path, *parse_qs(address.query).get("d", [])]  # local files are named in the query
    except ValueError:
        return False
    return names[-1].lower().endswith(_SURE_NAMES)
