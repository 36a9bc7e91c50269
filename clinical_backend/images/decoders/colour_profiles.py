"""Colours that a profile describes become those of sRGB, which a browser takes all colours for."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageChops, ImageCms

__all__ = ["in_srgb"]

_ROUNDING = 2
"""Levels by which a conversion from sRGB to itself may differ: such an image stays as it is."""


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an RGB image with the colours that its ICC profile means; itself where the profile is of no use."""
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        if given.profile.xcolor_space.strip() != "RGB":
            return image
        converted = ImageCms.profileToProfile(
            image,
            given,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent(ImageCms.getDefaultIntent(given)),
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # the image itself may be good
    assert converted is not None
    differs = np.asarray(ImageChops.difference(image, converted)).max() > _ROUNDING
    return converted if differs else image
