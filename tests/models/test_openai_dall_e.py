"""Image models as people call them: words and images in, files out, and nothing paid for twice."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import BadRequest, ConfigError, ConnectionFailed, InvalidResponse, ResponseTooLarge
from modelwrap.testing import FaultServer
from modelwrap.types import ImageChunk
from modelwrap.wire import openai_image
from tests.colours import Colour
from tests.loopback import Answer, Loopback, error_answer, event, json_answer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MADE = {"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def load(server: Loopback | str, **config: Any) -> modelwrap.Model:
    base_url = server if isinstance(server, str) else server.base_url
    given = {"config_name": "it", "model_type": "openai_dall_e", "model": "m", **config}
    return modelwrap.load({**given, "client_args": {"base_url": base_url, **config.get("client_args", {})}})["it"]


def test_an_image_is_edited_by_words_and_saved(colour: Colour, server: Loopback, tmp_path: Path) -> None:
    server.script(json_answer(MADE, x_request_id="req-1"))
    source = tmp_path / "cat.png"
    source.write_bytes(PNG)

    reply: Any = colour.call(load(server), "Make it red.", image=source, mask=PNG)
    saved = reply.save(tmp_path / "made")

    assert [asked.path for asked in server.asked] == ["/v1/images/edits"]
    assert server.asked[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert server.asked[0].content.count(PNG) == 2
    assert [path.name for path in saved] == ["image-1.png"]
    assert saved[0].read_bytes() == reply.data[0].content == PNG
    assert reply.meta.request_id == "req-1"


def test_files_that_are_there_are_not_written_over(server: Loopback, tmp_path: Path) -> None:
    server.script(json_answer({"created": 1, "data": [*MADE["data"], {"b64_json": "/9j/4AAQ"}]}))  # type: ignore[misc] # a list
    (tmp_path / "cat-1.png").write_bytes(b"mine")

    reply: Any = load(server)("a cat", n=2)

    assert [path.name for path in reply.save(tmp_path, "cat")] == ["cat-2.png", "cat-1.jpeg"]
    assert (tmp_path / "cat-1.png").read_bytes() == b"mine"


def test_many_may_save_into_one_folder_at_the_same_time(server: Loopback, tmp_path: Path) -> None:
    server.script(json_answer(MADE))
    reply: Any = load(server)("a cat")

    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda _: reply.save(tmp_path)[0], range(40)))

    assert len(set(saved)) == len(list(tmp_path.iterdir())) == 40
    assert {path.read_bytes() for path in saved} == {PNG}


@pytest.mark.parametrize("said", ["../../a", "a/b", "", "x" * 300, "\0"])
def test_a_format_that_the_server_makes_up_leads_nowhere(server: Loopback, tmp_path: Path, said: str) -> None:
    server.script(json_answer({"created": 1, "output_format": said, "data": [{"b64_json": "AAAA"}]}))

    reply: Any = load(server)("a cat")

    assert reply.save(tmp_path) == [tmp_path / "image-1.png"]
    assert reply.image_urls == ["data:image/png;base64,AAAA"]


def test_an_edit_is_explained_without_its_bytes(server: Loopback) -> None:
    explained = load(server).explain("Make it red.", image=PNG)

    assert explained.url.endswith("/images/edits")
    assert explained.body == {"model": "m", "prompt": "Make it red.", "image": "image/png, 70 bytes"}


def test_previews_come_before_the_image(colour: Colour, server: Loopback, tmp_path: Path) -> None:
    picture = base64.b64encode(PNG).decode()
    preview = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": picture}
    last = {"type": "image_generation.completed", "b64_json": picture, "created_at": 7, "output_format": "png"}
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    pieces: list[bytes | float] = [event(preview), event({**last, "usage": usage})]
    server.script(Answer(200, {"content-type": "text/event-stream"}, pieces))

    chunks, reply = colour.stream(load(server), "a cat", partial_images=1)
    made: Any = reply

    assert server.asked[0].body == {"model": "m", "prompt": "a cat", "partial_images": 1, "stream": True}
    assert [chunk.partial for chunk in chunks if isinstance(chunk, ImageChunk)] == [True, False]
    assert made.image_urls == [f"data:image/png;base64,{picture}"]
    assert made.usage.total_tokens == made.meta.usage.total == 8
    assert made.meta.done
    assert len(made.raw) == 2
    assert [path.read_bytes() for path in made.save(tmp_path)] == [PNG]


def test_a_body_in_place_of_a_stream_is_kept_once(colour: Colour, server: Loopback) -> None:
    body = {**MADE, "data": [{"b64_json": "iVBOAAAA"}, {"b64_json": "iVBOBBBB"}]}
    server.script(json_answer(body))

    chunks, reply = colour.stream(load(server), "a cat", n=2)

    assert [len(chunk.image_urls) for chunk in chunks if isinstance(chunk, ImageChunk)] == [1, 1]
    assert reply.raw == [body]


def test_an_event_may_be_as_large_as_an_image(colour: Colour, server: Loopback) -> None:
    last = {"type": "image_generation.completed", "b64_json": "iVBO" + "A" * (17 * 2**20)}
    server.script(Answer(200, {"content-type": "text/event-stream"}, [event(last)]))

    _, reply = colour.stream(load(server), "a cat")

    assert len((reply.image_urls or [""])[0]) > 17 * 2**20


def test_large_images_come_and_larger_ones_are_refused(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as faults:
        model = load(faults.url("large_image", size=50 * 2**20))
        reply: Any = colour.call(model, "a cat")
        monkeypatch.setattr(openai_image, "LARGEST_ANSWER", 2**20)
        with pytest.raises(ResponseTooLarge):
            colour.call(model, "a cat")

    assert len(reply.data[0].content) == 50 * 2**20 // 3 * 3


def test_bytes_that_are_no_image_are_told_when_they_are_wanted(server: Loopback, tmp_path: Path) -> None:
    server.script(json_answer({"data": [{"b64_json": "no base64!"}]}))

    reply: Any = load(server)("a cat")

    with pytest.raises(InvalidResponse, match="no base64"):
        reply.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


# What costs money.


def test_an_image_that_may_have_been_made_is_not_asked_for_again(colour: Colour) -> None:
    with FaultServer() as faults:
        with pytest.raises(ConnectionFailed) as caught:
            colour.call(load(faults.url("close_before_headers")), "a cat")
        asked = faults.seen("close_before_headers").requests

    assert (asked, caught.value.retryable) == (1, False)


def test_a_config_may_say_that_it_is_asked_for_again(colour: Colour, server: Loopback) -> None:
    server.script(Answer(raw=True), json_answer(MADE))

    reply: Any = colour.call(load(server, retry_images=True, client_args={"timeout": 20}), "a cat")

    assert len(reply.image_urls) == 1
    assert len(server.asked) == 2


def test_a_refusal_is_tried_again_either_way(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(429, "slow", retry_after="0"), json_answer(MADE))

    assert colour.call(load(server), "a cat").meta.attempts == 2


def test_an_answer_that_nobody_can_read_is_not_paid_for_again(colour: Colour, server: Loopback) -> None:
    server.script(Answer(200, {"content-type": "application/json"}, [b'{"data": [']))

    with pytest.raises(InvalidResponse):
        colour.call(load(server), "a cat")

    assert len(server.asked) == 1


# Images elsewhere.


def test_nothing_is_fetched_unless_the_config_says_so(colour: Colour, server: Loopback, tmp_path: Path) -> None:
    there = f"http://127.0.0.1:{server.port}/a.png"
    server.script(json_answer({"created": 1, "data": [{"url": there}]}))

    reply: Any = colour.call(load(server), "a cat")

    assert reply.image_urls == [there]
    with pytest.raises(ConfigError, match="fetch_images"):
        reply.save(tmp_path)
    assert [asked.path for asked in server.asked] == ["/v1/images/generations"]


def test_images_are_fetched_where_the_config_says_so(colour: Colour, server: Loopback, tmp_path: Path) -> None:
    there = f"http://127.0.0.1:{server.port}/a.png?sig=1"
    server.script(
        json_answer({"created": 1, "data": [{"url": there}]}), Answer(200, {"content-type": "image/png"}, [PNG])
    )
    allowed = {"private_hosts": [f"127.0.0.1:{server.port}"]}

    reply: Any = colour.call(load(server, fetch_images=True, media=allowed), "a cat")

    assert reply.image_urls == [there]
    assert reply.save(tmp_path)[0].read_bytes() == PNG
    assert "authorization" not in server.asked[1].headers


def test_an_image_that_was_paid_for_is_kept_when_there_is_no_time_left_to_fetch_it(
    colour: Colour, server: Loopback
) -> None:
    there = f"http://127.0.0.1:{server.port}/a.png"
    server.script(json_answer({"created": 1, "data": [{"url": there}] * 2}), Answer(pieces=[0.4]))
    allowed = {"private_hosts": [f"127.0.0.1:{server.port}"]}

    reply: Any = colour.call(load(server, fetch_images=True, media=allowed), "a cat", timeout=0.2)

    assert reply.image_urls == [there, there]
    assert [change.what for change in reply.meta.changes] == ["fetch_images"]


@pytest.mark.parametrize("url", ["http://169.254.169.254/x", "http://127.0.0.1:1/a.png", "file:///etc/passwd", "x"])
def test_where_an_answer_points_to_one_s_own_network_nothing_is_fetched(
    colour: Colour, server: Loopback, url: str
) -> None:
    server.script(json_answer({"created": 1, "data": [{"url": url}]}))

    reply: Any = colour.call(load(server, fetch_images=True), "a cat")

    assert (reply.image_urls, reply.data[0].content) == ([url], None)
    assert [(change.kind, change.what) for change in reply.meta.changes] == [("ignored", "fetch_images")]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "given, words",
    [
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}]}],
            "image",
        ),
        (None, "words or from another image"),
        (7, "give a string"),
    ],
)
def test_what_makes_no_image_is_refused(colour: Colour, server: Loopback, given: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        colour.call(load(server), given)

    assert server.asked == []


def test_a_vendor_s_client_carries_images_with_arguments_of_its_own(server: Loopback) -> None:
    server.script(json_answer(MADE))
    client_args = {"azure_endpoint": f"http://127.0.0.1:{server.port}", "api_version": "2025-04-01-preview"}
    config = {"config_name": "it", "model_type": "openai_dall_e", "model": "m", "api_key": "azure-canary-1"}
    carried = {"transport": "sdk", "sdk_client": "AzureOpenAI", "client_args": client_args}

    modelwrap.load({**config, **carried})["it"]("a cat")

    assert server.asked[0].path == "/openai/deployments/m/images/generations?api-version=2025-04-01-preview"
    assert server.asked[0].headers["api-key"] == "azure-canary-1"


def test_another_model_s_reply_is_the_input_of_an_edit(server: Loopback) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Red."}, {"type": "image_url", "image_url": picture}]}
    ]
    server.script(json_answer(MADE))

    load(server)(messages)

    assert json.loads(json.dumps(load(server).explain(messages).body))["image"] == "image/png, 70 bytes"
    assert server.asked[0].path == "/v1/images/edits"
