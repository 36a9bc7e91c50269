"""Images come through a real Label Studio from wherever it keeps them.

Uploads, local files and an S3 server are real; Google's and Azure's storage are emulators, which Label Studio's own
clients talk to.
"""

from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.sources import ImageRequest, ImageSource
from tests.conftest import label_config
from tests.end_to_end.azure_store import ACCOUNT, AZURITE, azure_store
from tests.end_to_end.google_store import google_store
from tests.end_to_end.s3_server import ACCESS_KEY, SECRET_KEY, WEED, s3_server
from tests.images.decoders.dicoms import RAMP, dicom

NAME = "jane%20doe/1.dcm"
SIGNED = pytest.mark.parametrize("signed", [True, False], ids=["signed by Label Studio", "passed on by Label Studio"])


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    if not WEED.exists():
        pytest.skip("there is no S3 server for this platform on PyPI")
    with s3_server(tmp_path_factory.mktemp("s3"), {f"scans/{NAME}": dicom(RAMP)}) as url:
        yield url


@pytest.fixture(scope="module")
def google(google_port):
    with google_store(google_port, "scans", {unquote(NAME): dicom(RAMP)}) as credentials:
        yield credentials


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    if AZURITE is None:
        pytest.skip("azurite-blob is not installed: npm install --global azurite")
    with azure_store(tmp_path_factory.mktemp("azure"), "scans", {unquote(NAME): dicom(RAMP)}) as key:
        yield key


def synchronised(client, kind, **storage):
    """Return number and address of the task that Label Studio makes of the image in a store."""
    project = client.create_project(f"scans in {kind}", label_config(), sampling="Uncertainty sampling")
    body = {"project": project.id, "title": "scans", "use_blob_urls": True, "recursive_scan": True, **storage}
    made = client.session.request("POST", f"api/storages/{kind}", json=body)
    client.session.request("POST", f"api/storages/{kind}/{made['id']}/sync")
    (found,) = client.session.request("GET", "api/tasks", params={"project": project.id})["tasks"]
    assert found["data"]["image"].startswith(f"/tasks/{found['id']}/resolve/?fileuri=")
    return found["id"], found["data"]["image"]


def in_s3(client, url, *, signed):
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    return synchronised(client, "s3", bucket="scans", s3_endpoint=url, presign=signed, **keys)


def in_google(client, credentials, *, signed):
    return synchronised(client, "gcs", bucket="scans", google_application_credentials=credentials, presign=signed)


def assert_fetched(source, number, *addresses):
    for address in addresses:
        assert np.asarray(decode(source.fetch(address, number)))[0, :, 0].tolist() == [0, 85, 170, 255]


@SIGNED
def test_an_image_in_an_s3_store_is_fetched(label_studio, client, s3, signed):
    number, listed = in_s3(client, s3, signed=signed)
    with ImageSource(label_studio.url, client.session.http, allowed_hosts=[s3.removeprefix("http://")]) as source:
        assert_fetched(source, number, f"s3://scans/{unquote(NAME)}", listed)


@SIGNED
def test_an_image_in_google_cloud_storage_is_fetched(label_studio, client, google, google_port, signed):
    number, listed = in_google(client, google, signed=signed)
    with ImageSource(label_studio.url, client.session.http, allowed_hosts=[f"127.0.0.1:{google_port}"]) as source:
        assert_fetched(source, number, f"gs://scans/{unquote(NAME)}", listed)


def test_an_image_in_azure_blob_storage_is_fetched(label_studio, client, azure):
    # Label Studio writes Azure's own address into what it signs, so an emulator can only be passed on from.
    number, listed = synchronised(
        client, "azure", container="scans", account_name=ACCOUNT, account_key=azure, presign=False
    )
    with ImageSource(label_studio.url, client.session.http) as source:
        assert_fetched(source, number, f"azure-blob://scans/{unquote(NAME)}", listed)


@pytest.mark.parametrize(("kind", "scheme"), [("s3", "s3"), ("google", "gs")])
@SIGNED
def test_a_private_store_that_is_not_named_is_reached_through_label_studio_alone(
    label_studio, client, request, kind, scheme, signed
):
    store = request.getfixturevalue(kind)
    number, listed = (in_s3 if kind == "s3" else in_google)(client, store, signed=signed)
    with ImageSource(label_studio.url, client.session.http) as source:
        if signed:
            with pytest.raises(ImageError, match="IMAGE_HOSTS") as refusal:
                source.fetch(f"{scheme}://scans/{unquote(NAME)}", number)
            assert "jane" not in str(refusal.value)
        else:
            assert_fetched(source, number, f"{scheme}://scans/{unquote(NAME)}", listed)


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
