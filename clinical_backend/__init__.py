"""A Label Studio ML backend that brings the rare cases to the front of the annotation queue."""

import os

from clinical_backend.system.telemetry import switch_off

switch_off(os.environ)
