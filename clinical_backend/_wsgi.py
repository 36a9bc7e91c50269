"""Serves the plugin under the ``label-studio-ml`` SDK: ``python -m clinical_backend._wsgi``, or ``app`` for gunicorn.

``clinical serve`` is the better server: the SDK's drops events. What it lets in is the same: no other machine without
a password or OPEN_ACCESS, no host that is not this server's, and files are for this user alone.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError
from clinical_backend.logs import configure_logs
from clinical_backend.service.exposure import examine_exposure, require_consent
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.system.permissions import keep_private, private_umask
from clinical_backend.web.security import BODY_LIMIT
from clinical_backend.web.wsgi import GuardedApplication

if TYPE_CHECKING:
    from clinical_backend.settings import Settings

__all__ = ["main", "make_app"]

logger = logging.getLogger(__name__)


def make_app(settings: Settings) -> Any:  # noqa: ANN401 - a Flask application; the SDK has no types
    """Return the SDK's server of this backend, guarded as ``clinical serve`` is.

    Raises
    ------
    ClinicalError
        When settings are missing, the database cannot be opened, or a network would be served without a password.
    """
    configure_logs(settings)
    os.umask(private_umask(settings.model_dir))
    settings.api_key  # noqa: B018 - refuses to start without one
    require_consent(settings)
    open_database(settings).close()
    for finding in examine_exposure(settings):
        logger.warning("%s %s", finding.message, finding.cure)
    keep_private(settings.model_dir)
    os.environ["MODEL_DIR"] = str(settings.model_dir)  # where SDK 2.x keeps its cache, from when it is imported

    from label_studio_ml import api  # noqa: PLC0415

    from clinical_backend.plugin import ClinicalBackend  # noqa: PLC0415

    takes_folder = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(api.init_app).parameters.values())
    app = api.init_app(ClinicalBackend, **({"model_dir": str(settings.model_dir)} if takes_folder else {}))
    api.BASIC_AUTH = None  # its own check fails with 500 at letters beyond ASCII, and at credentials of another kind
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.wsgi_app = GuardedApplication(app.wsgi_app, settings)
    return app


def main() -> None:
    """Serve; an error of ours is one line with its cure, and exit code 1."""
    parser = argparse.ArgumentParser(description="Clinical backend under the label-studio-ml SDK")
    parser.add_argument("-p", "--port", type=int, help="by default PORT, or 9090")
    parser.add_argument("--host", help="by default HOST, or 127.0.0.1")
    given = vars(parser.parse_args())
    # Processes that this one starts, and the plugin, read where it listens from there.
    os.environ.update({name.upper(): str(value) for name, value in given.items() if value is not None})
    try:
        settings = load_settings()
        app = make_app(settings)
    except ClinicalError as error:
        print(f"clinical: {error}", file=sys.stderr)
        sys.exit(1)
    app.run(host=settings.host.strip("[]"), port=settings.port, threaded=True)


if __name__ == "__main__":
    main()
else:
    app = make_app(load_settings())
