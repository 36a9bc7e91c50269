"""Serves the plugin under the ``label-studio-ml`` SDK: ``python -m clinical_backend._wsgi``.

``clinical serve`` is the better server: the SDK's drops events and knows no project in some calls.
"""

from __future__ import annotations

import argparse
import os

from label_studio_ml.api import init_app

from clinical_backend.plugin import ClinicalBackend

__all__ = ["app"]

app = init_app(model_class=ClinicalBackend, model_dir=os.environ.get("MODEL_DIR", "clinical-data"))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Clinical backend under the label-studio-ml SDK")
    parser.add_argument("-p", "--port", type=int, default=9090)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    app.run(host=arguments.host, port=arguments.port)
