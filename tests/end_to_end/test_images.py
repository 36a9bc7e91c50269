"""Images come through a real Label Studio from wherever it keeps them: uploads, local files, a real S3 server."""

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoding import decode
from clinical_backend.images.sources import ImageRequest, ImageSource
from tests.conftest import label_config
from tests.end_to_end.s3_server import ACCESS_KEY, SECRET_KEY, WEED, s3_server
from tests.images.test_dicom import RAMP, dicom


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    if not WEED.exists():
        pytest.skip("there is no S3 server for this platform on PyPI")
    with s3_server(tmp_path_factory.mktemp("s3"), {"scans/jane%20doe/1.dcm": dicom(RAMP)}) as url:
        yield url


@pytest.fixture(params=[True, False], ids=["signed by Label Studio", "passed on by Label Studio"])
def task(request, client, store):
    project = client.create_project("scans in S3", label_config(), sampling="Uncertainty sampling")
    storage = client.session.request(
        "POST",
        "api/storages/s3",
        json={
            "project": project.id,
            "title": "scans",
            "bucket": "scans",
            "s3_endpoint": store,
            "region_name": "us-east-1",
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "use_blob_urls": True,
            "presign": request.param,
            "recursive_scan": True,
        },
    )
    client.session.request("POST", f"api/storages/s3/{storage['id']}/sync")
    (found,) = client.session.request("GET", "api/tasks", params={"project": project.id})["tasks"]
    return request.param, found["id"], found["data"]["image"]


URI = "s3://scans/jane doe/1.dcm"


def test_an_image_in_an_s3_store_is_fetched(label_studio, client, store, task):
    _, number, listed = task
    assert listed.startswith(f"/tasks/{number}/resolve/?fileuri=")
    with ImageSource(label_studio.url, client.session.http, allowed_hosts=[store.removeprefix("http://")]) as source:
        for address in (URI, listed):
            assert np.asarray(decode(source.fetch(address, number)))[0, :, 0].tolist() == [0, 85, 170, 255]


def test_a_private_store_that_is_not_named_is_reached_through_label_studio_alone(label_studio, client, task):
    signed, number, listed = task
    with ImageSource(label_studio.url, client.session.http) as source:
        if signed:
            with pytest.raises(ImageError, match="IMAGE_HOSTS") as refusal:
                source.fetch(URI, number)
            assert "jane" not in str(refusal.value)
        else:
            assert source.fetch(URI, number) == source.fetch(listed, number)


def test_uploads_and_local_files_are_fetched_and_what_is_missing_is_told(label_studio, client, image_paths, tmp_path):
    project = client.create_project("uploads", label_config(), sampling="Uncertainty sampling")
    client.serve_local_files(project.id, str(label_studio.files / "images"))
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "scan.png")
    with (tmp_path / "scan.png").open("rb") as file:
        client.session.request("POST", f"api/projects/{project.id}/import", files={"scan": ("scan.png", file)})
    (task,) = client.session.request("GET", "api/tasks", params={"project": project.id})["tasks"]
    addresses = [task["data"]["image"], image_paths[0], "/data/upload/1/none.png"]
    assert addresses[0].startswith("/data/upload/")
    requests = [ImageRequest(task["id"], address) for address in addresses]
    with ImageSource(label_studio.url, client.session.http) as source:
        uploaded, local, missing = (content for _, content in source.fetch_many(requests))
    assert decode(uploaded).size == (3, 2)
    assert decode(local).size == (16, 16)
    assert isinstance(missing, ImageError)
