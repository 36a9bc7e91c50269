"""The image, built from this folder or named by IMAGE, and containers of it."""

from __future__ import annotations

import os

import pytest
import yaml

from tests.image.engines import ROOT, find_engine

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def engine():
    """Return what runs containers."""
    found = find_engine()
    if found is None:
        pytest.exit(
            "Nothing here builds images: start Docker, or, as root, install buildah (apt-get install buildah).", 3
        )
    yield found
    found.close()


@pytest.fixture(scope="session")
def image(engine):
    """Return the name of the image, which is built unless IMAGE names one that is."""
    tag = os.environ.get("IMAGE")
    if not tag:
        tag = f"localhost/{COMPOSE['x-image']['image']}"
        engine.build(tag)
    return tag


@pytest.fixture
def volume(engine):
    """Return a volume that is new."""
    made = engine.new_volume()
    yield made
    engine.remove_volume(made)


@pytest.fixture
def settings(redis_server):
    """Return what server and worker are told, with addresses of this machine."""
    redis_server.client.flushdb()
    return {
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": "k",
        "BASIC_AUTH_USER": "label-studio",
        "BASIC_AUTH_PASS": "p",
        "REDIS_URL": redis_server.url,
    }
