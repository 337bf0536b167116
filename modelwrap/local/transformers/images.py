"""Pictures of messages in the form that processors read."""

from __future__ import annotations

import io
from typing import Any

from modelwrap.errors import BadRequest, MissingPackage
from modelwrap.wire.media_parts import DataUrl


def image_of(url: str, where: str = "image_url") -> Any:
    """Read the picture in a `data:` URL, upright and in RGB; `where` names it in errors."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingPackage('images need pillow: pip install "modelwrap[transformers]"') from error
    data, _ = DataUrl.parse(url, where).decoded(where)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # A broken PNG is a SyntaxError to that library.
        raise BadRequest(f"{where}: the image cannot be read: {error}", sent=False) from error
