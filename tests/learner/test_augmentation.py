"""Views keep shape and range, follow their seed, and change no more than they may."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clinical_backend.learner.augmentation import VIEWS, are_grey, draw_views

STILL = replace(VIEWS["radiograph"], rotation=0.0, magnification=(1.0, 1.0), shift=0.0, brightness=0.0, contrast=0.0)


def batch(count=6, size=28):
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(1))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("size", [28, 128])
def test_views_keep_shape_and_range(kind, size):
    images = batch(size=size)
    views = draw_views(images, VIEWS[kind], generator())
    assert views.shape == images.shape
    assert views.dtype == images.dtype
    assert views.min() >= 0.0
    assert views.max() <= 1.0
    assert (views - images).abs().mean() > 0.01


def test_a_seed_gives_the_same_views():
    images = batch()
    first, again, other = (draw_views(images, VIEWS["general"], generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_ranges_of_nothing_leave_the_image():
    images = batch()
    assert torch.allclose(draw_views(images, STILL, generator()), images, atol=1e-4)


def test_flips_alone_give_the_image_or_its_mirror():
    images = batch(count=16)
    views = draw_views(images, replace(STILL, flips=True), generator())
    kept = [torch.allclose(view, image, atol=1e-4) for view, image in zip(views, images, strict=True)]
    mirrored = [torch.allclose(view, image.flip(-1), atol=1e-4) for view, image in zip(views, images, strict=True)]
    assert all(one != other for one, other in zip(kept, mirrored, strict=True))
    assert any(kept)
    assert any(mirrored)


def test_radiographs_stay_upright():
    """A bright upper half stays above."""
    images = torch.zeros((64, 3, 32, 32))
    images[:, :, :16] = 1.0
    views = draw_views(images, replace(VIEWS["radiograph"], shift=0.0, magnification=(1.0, 1.0)), generator())
    assert (views[:, :, :8].mean(dim=(1, 2, 3)) > views[:, :, -8:].mean(dim=(1, 2, 3))).all()


def test_views_of_grey_images_are_grey_for_radiographs():
    images = batch()[:, :1].expand(-1, 3, -1, -1)
    views = draw_views(images, VIEWS["radiograph"], generator())
    assert torch.allclose(views[:, 0], views[:, 2], atol=1e-6)


def test_rotation_keeps_proportions():
    """A disc in the middle stays a disc, so its area stays."""
    axis = torch.arange(64) - 31.5
    disc = ((axis[:, None] ** 2 + axis[None] ** 2) < 20.0**2).float().expand(8, 3, -1, -1)
    views = draw_views(disc, replace(STILL, rotation=180.0, flips=True), generator())
    assert torch.allclose(views.mean(dim=(1, 2, 3)), disc.mean(dim=(1, 2, 3)), rtol=0.02)
    assert (views - disc).abs().mean() < 0.02


@pytest.mark.parametrize(("coloured", "grey"), [(0, True), (1, True), (4, False)])
def test_a_pool_is_grey_where_practically_all_of_it_is(coloured, grey):
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(3, 250, (200, 8, 8, 1), dtype=np.uint8), 3, axis=3)
    images += rng.integers(0, 4, images.shape, dtype=np.uint8)  # as JPEG may leave it
    images[:coloured, ..., 0] //= 4
    assert are_grey(images) == grey
