"""Whatever comes in, it is read or refused with an error of ours: few inputs here, many with FUZZ_EXAMPLES."""

import io
import os
import resource
import sys
import warnings

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clinical_backend.errors import ClinicalError, ImageError
from clinical_backend.images.data_urls import read_data_url
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.images.sources import ImageSource
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from tests.conftest import label_config
from tests.images.decoders.fuzzing import broken_files, seeds

# FUZZ_EXAMPLES=4000 makes 20,000 inputs and prints what came of them.
MANY = int(os.environ.get("FUZZ_EXAMPLES", "0"))
outcomes: dict[str, dict[str, int]] = {}


def fuzzed(few):
    return settings(
        max_examples=MANY or few,
        deadline=None,
        database=None,
        derandomize=not MANY,
        suppress_health_check=list(HealthCheck),
    )


def count(kind, outcome):
    of_kind = outcomes.setdefault(kind, {})
    of_kind[outcome] = of_kind.get(outcome, 0) + 1


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    for kind, found in outcomes.items() if MANY else ():
        parts = ", ".join(f"{number} {name}" for name, number in sorted(found.items()))
        sys.stdout.write(f"| {kind} | {sum(found.values())} | {parts} |\n")
    if MANY:
        most = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        sys.stdout.write(f"Most memory: {most[0]} MiB here, {most[1]} MiB in a child.\n")


@given(broken_files())
@fuzzed(60)
def test_a_broken_file_is_read_or_refused(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow tells what it skips
        try:
            image = decode(data, pixel_limit=2**20)
        except ImageError:
            count("files, decoded in process", "refused")
            return
    assert image.mode == "RGB"
    assert image.width * image.height <= 2**20
    count("files, decoded in process", "read")


@pytest.fixture(scope="module")
def children():
    pool = DecoderProcesses(seconds=20.0)
    yield pool
    pool.close()


def test_a_broken_file_kills_no_decoder(children):
    @given(broken_files() | st.binary(max_size=300))
    @fuzzed(60)
    def run(data):
        try:
            pixels = children.decode(data)
        except ImageError as refusal:
            killed = any(word in refusal.problem for word in ("crash", "takes more", "cannot be decoded"))
            count("files, decoded in a child", refusal.problem if killed else "refused")
            if killed and not MANY:
                pytest.fail(refusal.problem)
            return
        assert (pixels.dtype, pixels.shape[2:]) == (np.uint8, (3,))
        count("files, decoded in a child", "read")

    run()


@given(
    st.text(max_size=40)
    | st.builds(
        "data:{},{}".format,
        st.sampled_from(["", "image/png", "image/png;base64", ";base64;x", ";BASE64 "]) | st.text(max_size=20),
        st.text(max_size=60) | st.text("ABab01+/=%-_ \n", max_size=60),
    )
)
@fuzzed(60)
def test_any_data_url_is_read_or_refused(uri):
    try:
        assert len(read_data_url(uri, size_limit=30)) <= 30
    except ImageError:
        count("data: URLs", "refused")
    else:
        count("data: URLs", "read")


@pytest.fixture(scope="module")
def source():
    def refuse(request):
        raise httpx2.ConnectError("nothing is there")

    with httpx2.Client(transport=httpx2.MockTransport(refuse)) as client:  # no address of these may be really asked
        yield ImageSource("http://label-studio.test/ls", client, public_client=client, attempts=1)


def test_any_address_is_fetched_or_refused(source):
    address = st.text(max_size=50) | st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["http://", "https://", "/data/local-files/?d=", "/data/upload/", "s3://", "data:", "//", "gs:"]
        ),
        st.text(max_size=40) | st.text("a.:/@[]?#%&=\\0127", max_size=40),
        st.sampled_from(["", ".dcm", "/../..", "?d=../../etc/passwd", "@evil.test", ":99999", "%00"]),
    )

    @given(address, st.none() | st.integers(0, 5))
    @fuzzed(60)
    def run(uri, task):
        try:
            source.fetch(uri, task)
        except ImageError:
            count("addresses", "refused or not reached")
        else:
            count("addresses", "read")

    run()


NAMES = st.sampled_from(["image", "diagnosis", "exemplar", "", "Ä", "a b"]) | st.text(max_size=8)
TAGS = st.sampled_from(["Image", "Choices", "Choice", "View", "Text", "Header", "RectangleLabels"]) | st.text(
    max_size=6
)


@st.composite
def configs(draw):
    config = label_config()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(config)))
        return config[:at] + draw(st.text(max_size=12)) + config[draw(st.integers(at, len(config))) :]
    attributes = st.lists(st.tuples(st.sampled_from(["name", "toName", "value", "choice", "x"]), NAMES), max_size=4)
    parts = draw(st.lists(st.tuples(TAGS, attributes), max_size=8))
    inner = "".join(f"<{tag} {' '.join(f'{name}={value!r}' for name, value in pairs)}/>" for tag, pairs in parts)
    return f"<View>{inner}</View>"


@given(configs())
@fuzzed(60)
def test_any_labeling_config_is_understood_or_refused(config):
    try:
        scheme = read_scheme(config, "exemplar")
    except ClinicalError:
        count("labeling configs", "refused")
    else:
        assert scheme.classes
        count("labeling configs", "understood")


def test_the_files_to_break_are_good():
    assert len(seeds()) > 40
    readable = 0
    for data in seeds():
        try:
            decode(data)
        except ImageError:
            continue
        readable += 1
    assert readable > 35


def test_expanding_entities_in_a_labeling_config_are_refused():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><View>&b;</View>'
    with pytest.raises(ClinicalError):
        read_scheme(bomb, "exemplar")


def test_a_decompression_bomb_costs_one_image(children):
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    assert len(file.getvalue()) < 2**20
    with pytest.raises(ImageError, match="million pixels"):
        children.decode(file.getvalue())
    assert children.decode(seeds()[0]).shape == (13, 17, 3)
