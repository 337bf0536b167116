"""OpenAI's image models: a string in, images out."""

from __future__ import annotations

from modelwrap.models.openai import OpenAIModel
from modelwrap.wire import openai_image


class OpenAIDallE(OpenAIModel):
    """Make images over `/images/generations`; `reply.image_urls` has them, as `data:` URLs where they came as bytes."""

    codec = openai_image
