"""Every recorded call for images in OpenAI's format, held against a reading that shares no code with the codec."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits, traits_for
from modelwrap.models.call import Call
from modelwrap.models.openai_dall_e import read_asked
from modelwrap.runtime.base import Deadline
from modelwrap.wire import openai_image
from modelwrap.wire.http import Endpoint, Timeouts, WireCall
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

_PLACES = ("created", "background", "output_format", "quality", "size", "usage", "id", "model", "object")


def _interactions(folder: Path) -> Iterator[Interaction]:
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["operation"] in ("image", "image_edit") and item["provider"].startswith(("openai", "azure_openai")):
            for number, recorded in enumerate(item["interactions"]):
                if "/images/" in recorded["request"]["url"]:
                    yield Interaction(item["id"], number, item["provider"], recorded["request"], recorded["response"])


RECORDED = recorded_or_skipped(_interactions)


def _only(*, ok: bool) -> Any:
    found = [one for one in RECORDED if one.values[0] is None or (one.values[0].status == 200) is ok]
    return pytest.mark.parametrize("recorded", found)


@_only(ok=True)
def test_recorded_images_are_read_with_nothing_lost(recorded: Interaction) -> None:
    body = recorded.response["body"]

    reply = openai_image.from_response(recorded.body, recorded.headers, WireCall("m", None, {}), Traits())

    assert reply.raw == body
    dumped = reply.model_dump()
    assert dumped["data"] == body["data"]
    assert {name: dumped.get(name) for name in _PLACES} == {name: body.get(name) for name in _PLACES}
    assert len(reply.image_urls) == len(body["data"])
    for url, item in zip(reply.image_urls, body["data"], strict=True):
        assert url == item.get("url") or url.endswith(item["b64_json"])
    counted = body.get("usage", {})
    if "input_tokens" in counted:
        assert reply.meta.usage is not None
        assert reply.meta.usage.prompt == counted["input_tokens"]
        assert reply.meta.usage.completion == counted["output_tokens"]


@pytest.mark.parametrize("recorded", RECORDED)
def test_recorded_request_goes_out_as_it_was(recorded: Interaction) -> None:
    body = recorded.request["body"]
    # What was recorded of forms is not what was in them.
    if not isinstance(body, dict) or "prompt" not in body or "__bytes_base64__" in body:
        return
    if not body["prompt"]:
        return
    given = [_part(image) for image in body.get("images") or [body[name] for name in ("image",) if name in body]]
    messages = [{"role": "user", "content": [{"type": "text", "text": body["prompt"]}, *given]}]
    parameters = {name: value for name, value in body.items() if name not in ("model", "prompt", "image", "images")}
    traits = traits_for(body.get("model", ""), recorded.request["url"])
    call = Call(messages, parameters, Timeouts(), Deadline(5.0), 0)
    wire = WireCall(body.get("model", ""), read_asked(call), parameters)

    request = openai_image.to_request(wire, Endpoint(_base(recorded)), traits)

    told = {change.what for change in wire.changes}
    if "data:" in json.dumps(given) and traits.facts.get("wire.image_edits") != "urls":
        # Bytes go out as the files of a form.
        assert request.content.count(b"Content-Disposition") == len(body) - ("images" in body) + len(given)
    else:
        assert request.json == {name: value for name, value in body.items() if name not in told}
    assert request.url == recorded.request["url"]


@_only(ok=False)
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    code = (recorded.response["body"].get("error") or {}).get("code")
    expected: dict[Any, type[errors.CallError]] = {
        "unknown_parameter": errors.UnsupportedParameter,
        "moderation_blocked": errors.ContentFiltered,
        "content_policy_violation": errors.ContentFiltered,
        "model_not_found": errors.NotFound,
    }

    error = openai_image.from_error(recorded.status, recorded.headers, recorded.body)

    by_status = {401: errors.AuthenticationFailed, 404: errors.NotFound, 429: errors.RateLimited}
    assert type(error) is expected.get(code, by_status.get(recorded.status, errors.BadRequest))
    assert error.message


def _part(image: dict[str, Any]) -> dict[str, Any]:
    url = image.get("image_url") or image.get("url") or ""
    if url.startswith("data:"):
        # Long ones were cut by who recorded them.
        head, _, text = url.partition(",")
        url = f"{head},{base64.b64encode(base64.b64decode(text[: len(text) // 4 * 4 - 4])).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _base(recorded: Interaction) -> str:
    return str(recorded.request["url"]).partition("/images/")[0]
