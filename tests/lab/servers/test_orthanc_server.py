"""An Orthanc keeps what it is given, over a restart too."""

import pytest

from clinical_backend.archive.access import ArchiveAccess
from clinical_backend.archive.dicomweb import DicomWeb
from clinical_backend.errors import ClinicalError
from clinical_backend.lab.benchmarks.dicomweb import small_object
from clinical_backend.lab.servers.orthanc_server import OrthancServer


@pytest.mark.skipif(not OrthancServer.installed(), reason="needs orthanc and orthanc-dicomweb")
def test_it_keeps_objects_over_a_restart_and_refuses_what_is_none(tmp_path):
    with OrthancServer(tmp_path / "orthanc") as server:
        server.store(small_object(1, side=2))
        with pytest.raises(ClinicalError, match="refuses a file"):
            server.store(b"no DICOM")
        server.kill()
        assert server.process_id is None
        server.start()
        with DicomWeb(ArchiveAccess(server.dicomweb)) as source:
            assert len(list(source.find())) == 1
