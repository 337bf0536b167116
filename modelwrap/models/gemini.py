"""Gemini, over generateContent: Google's API, and the same models on Vertex."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Self, cast

from modelwrap.config import key_from
from modelwrap.errors import InvalidResponse, StreamFailed
from modelwrap.models.call import Call
from modelwrap.models.chat import read_messages, take_response_format
from modelwrap.models.hosted import HostedConfig
from modelwrap.models.http import HttpModel
from modelwrap.models.remote_media import Fetching, FetchingConfig, with_media_fetched
from modelwrap.runtime.base import Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Change, ChatChunk, ChatReply, Message, Reply
from modelwrap.wire import gemini, sse
from modelwrap.wire.gemini_candidates import token_of
from modelwrap.wire.gemini_content import fetches_itself
from modelwrap.wire.gemini_replies import PAUSED
from modelwrap.wire.http import HttpRequest, WireCall
from modelwrap.wire.media_parts import Media
from modelwrap.wire.repair import tell
from modelwrap.wire.urls import normalised_gemini_base

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

# A model gives some million tokens at most, and more than ten thousand in each piece.
_MOST_PAUSES = 64


class HostedByGoogle(HostedConfig):
    provider = "gemini"
    own_domain = "googleapis.com"
    own_url = "https://generativelanguage.googleapis.com"

    def normalised(self, url: str) -> str:
        return normalised_gemini_base(url)

    def headers(self) -> dict[str, str | Secret]:
        """Give the headers of every request, the key among them."""
        headers = {name.lower(): value for name, value in self.client_args.default_headers.items()}
        if not headers.keys() & {"x-goog-api-key", "authorization"}:
            variable = next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), KEY_VARIABLES[0])
            if (key := key_from(self, variable, self.is_at_home())) is not None:
                headers["x-goog-api-key"] = key
        return headers


class GeminiConfig(HostedByGoogle, FetchingConfig):
    pass


class Gemini(HttpModel):
    """Chat over `:generateContent`; an answer that Gemini gives in several pieces is asked for until it is whole."""

    Config = GeminiConfig
    codec = gemini
    fetching: Fetching

    @classmethod
    def from_config(cls, config: GeminiConfig) -> Self:
        model = cls(config.config_name, config.model, config.endpoint(config.headers()), config.traits())
        model.configure(config)
        model.fetching = Fetching(config.media, model.endpoint.connection, model.takes_url)
        return model

    def takes_url(self, media: Media) -> bool:
        """Tell whether media go out as their URL: Google's own, and on Vertex all that is public."""
        return fetches_itself(media.url) or self.traits.facts.platform == "vertex"

    async def to_input(self, call: Call, runtime: Runtime) -> list[Message]:
        take_response_format(call, strict=False)
        return await with_media_fetched(await read_messages(call, runtime), call, runtime, self.fetching)

    async def _completed(self, wire: WireCall, call: Call, runtime: Runtime) -> Reply:
        reply = await super()._completed(wire, call, runtime)
        for pauses in range(_MOST_PAUSES):
            if reply.meta.finish_reason != PAUSED or not token_of(reply.raw):
                return reply
            tell(call.lasting, _continued(pauses))
            reply = await super()._completed(replace(wire, resumes=reply.raw), call, runtime)
        if reply.meta.finish_reason == PAUSED:
            raise InvalidResponse(_TOO_OFTEN, partial=cast("ChatReply", reply))  # this codec gives no other replies
        return reply

    async def _chunks(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, end: sse.End | None = None
    ) -> AsyncGenerator[ChatChunk, None]:
        for pauses in range(_MOST_PAUSES + 1):
            end = sse.End()
            async with aclosing(super()._chunks(request, wire, call, runtime, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if end.paused is None:
                return
            call.ended = False
            tell(call.lasting, _continued(pauses))
            wire = replace(wire, resumes=end.paused)
            request = self._request(wire, call, self.traits)
        raise StreamFailed(_TOO_OFTEN)


_TOO_OFTEN = f"the provider gave its answer in more than {_MOST_PAUSES} pieces"


def _continued(pauses: int) -> Change:
    return Change(
        "emulated", PAUSED, f"piece {pauses + 2} of the answer was asked for, and put together with the first"
    )
