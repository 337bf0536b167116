"""Who is measured: what each needs to be installed, and how it is asked for one reply and for one stream.

Each is used as its own documentation shows. Where a client bounds its connections below the callers of the largest
test, the bound is lifted, because waiting for a connection is not what is compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple

KEY = "EMPTY"
QUESTION = "Name a river."
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
BODY = {"model": "m", "messages": MESSAGES}
PATH = "/chat/completions"
CONNECTIONS = 1000


class Blocking(NamedTuple):
    call: Callable[[], str | None]
    """Give the text of one reply."""
    stream: Callable[[], int]
    """Read one stream to its end, and give the number of its pieces."""


Concurrent = Callable[[], Awaitable[str | None]]
"""Give the text of one reply, on the running loop."""


class Contender(NamedTuple):
    name: str
    requirement: str
    """What pip installs; `.` is this repository."""
    package: str
    """What is imported."""
    blocking: Callable[[str], Blocking] | None
    """Make the blocking client of a base URL."""
    concurrent: Callable[[str], Concurrent] | None


def count(pieces: Iterable[object]) -> int:
    return sum(1 for _ in pieces)


def count_events(lines: Iterable[str]) -> int:
    """Read the least that any client must of a stream: the JSON of each event."""
    import json

    return count(json.loads(line[6:]) for line in lines if line.startswith("data: {"))


def text_of(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])


# HTTP clients, which show what the wire alone costs.


def httpx2_blocking(base_url: str) -> Blocking:
    import httpx2

    client = httpx2.Client()

    def stream() -> int:
        with client.stream("POST", base_url + PATH, json={**BODY, "stream": True}) as response:
            return count_events(response.iter_lines())

    return Blocking(lambda: text_of(client.post(base_url + PATH, json=BODY).json()), stream)


def httpx2_concurrent(base_url: str) -> Concurrent:
    import httpx2

    client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=CONNECTIONS), timeout=None)

    async def call() -> str:
        return text_of((await client.post(base_url + PATH, json=BODY)).json())

    return call


def aiohttp_concurrent(base_url: str) -> Concurrent:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))

    async def call() -> str:
        async with session.post(base_url + PATH, json=BODY) as response:
            return text_of(await response.json())

    return call


def pyreqwest_blocking(base_url: str) -> Blocking:
    from pyreqwest.client import SyncClientBuilder

    client = SyncClientBuilder().build()

    def lines(response: Any) -> Iterator[str]:
        reader, rest = response.body_reader, b""
        while (part := reader.read_chunk()) is not None:
            *whole, rest = (rest + bytes(part)).split(b"\n")
            yield from (line.decode() for line in whole)

    def stream() -> int:
        request = client.post(base_url + PATH).body_json({**BODY, "stream": True})
        with request.build_streamed() as response:
            return count_events(lines(response))

    return Blocking(lambda: text_of(client.post(base_url + PATH).body_json(BODY).build().send().json()), stream)


def pyreqwest_concurrent(base_url: str) -> Concurrent:
    from pyreqwest.client import ClientBuilder

    client = ClientBuilder().build()

    async def call() -> str:
        response = await client.post(base_url + PATH).body_json(BODY).build().send()
        return text_of(await response.json())

    return call


# modelwrap


def modelwrap_blocking(base_url: str) -> Blocking:
    model = modelwrap_model(base_url, {})
    return Blocking(lambda: model(QUESTION).text, lambda: count(model.stream(QUESTION)))


def modelwrap_on_httpx2(base_url: str) -> Concurrent:
    return modelwrap_concurrent(base_url, {"http": "httpx2"})


def modelwrap_on_aiohttp(base_url: str) -> Concurrent:
    return modelwrap_concurrent(base_url, {"http": "aiohttp"})


def modelwrap_concurrent(base_url: str, client_args: dict[str, Any]) -> Concurrent:
    model = modelwrap_model(base_url, client_args)

    async def call() -> str | None:
        return str((await model.acall(QUESTION)).text)

    return call


def modelwrap_model(base_url: str, client_args: dict[str, Any]) -> Any:
    import modelwrap

    config = {
        "config_name": "m",
        "model_type": "openai",
        "api_key": KEY,
        "client_args": {"base_url": base_url, **client_args},
    }
    return modelwrap.load(config)["m"]


# Peers


def openai_blocking(base_url: str) -> Blocking:
    import openai

    create = openai.OpenAI(api_key=KEY, base_url=base_url).chat.completions.create
    return Blocking(
        lambda: create(model="m", messages=MESSAGES).choices[0].message.content,
        lambda: count(create(model="m", messages=MESSAGES, stream=True)),
    )


def openai_concurrent(base_url: str, http_client: Any = None) -> Concurrent:
    import openai

    create = openai.AsyncOpenAI(api_key=KEY, base_url=base_url, http_client=http_client).chat.completions.create

    async def call() -> str | None:
        return (await create(model="m", messages=MESSAGES)).choices[0].message.content

    return call


def openai_on_aiohttp(base_url: str) -> Concurrent:
    from openai import DefaultAioHttpClient

    return openai_concurrent(base_url, DefaultAioHttpClient())


def litellm_blocking(base_url: str) -> Blocking:
    import litellm

    target: Any = {"model": "openai/m", "messages": MESSAGES, "api_base": base_url, "api_key": KEY}
    return Blocking(
        lambda: litellm.completion(**target).choices[0].message.content,
        lambda: count(litellm.completion(**target, stream=True)),
    )


def litellm_concurrent(base_url: str) -> Concurrent:
    import litellm

    async def call() -> str | None:
        reply = await litellm.acompletion(model="openai/m", messages=MESSAGES, api_base=base_url, api_key=KEY)
        return str(reply.choices[0].message.content)

    return call


def langchain_blocking(base_url: str) -> Blocking:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", base_url=base_url, api_key=KEY)
    return Blocking(lambda: str(model.invoke(MESSAGES).content), lambda: count(model.stream(MESSAGES)))


def langchain_concurrent(base_url: str) -> Concurrent:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", base_url=base_url, api_key=KEY)

    async def call() -> str:
        return str((await model.ainvoke(MESSAGES)).content)

    return call


def pydantic_ai_model(base_url: str) -> Any:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel("m", provider=OpenAIProvider(base_url=base_url, api_key=KEY))


def pydantic_ai_blocking(base_url: str) -> Blocking:
    from pydantic_ai import Agent

    agent = Agent(pydantic_ai_model(base_url))

    def stream() -> int:
        return count(agent.run_stream_sync(QUESTION).stream_text(delta=True, debounce_by=None))

    return Blocking(lambda: agent.run_sync(QUESTION).output, stream)


def pydantic_ai_concurrent(base_url: str) -> Concurrent:
    from pydantic_ai import Agent

    agent = Agent(pydantic_ai_model(base_url))

    async def call() -> str:
        return str((await agent.run(QUESTION)).output)

    return call


def any_llm_blocking(base_url: str) -> Blocking:
    from any_llm import AnyLLM

    complete: Any = AnyLLM.create("openai", api_key=KEY, api_base=base_url).completion
    return Blocking(
        lambda: complete(model="m", messages=MESSAGES).choices[0].message.content,
        lambda: count(complete(model="m", messages=MESSAGES, stream=True)),
    )


def any_llm_concurrent(base_url: str) -> Concurrent:
    from any_llm import AnyLLM

    complete: Any = AnyLLM.create("openai", api_key=KEY, api_base=base_url).acompletion

    async def call() -> str | None:
        reply = await complete(model="m", messages=MESSAGES)
        return str(reply.choices[0].message.content)

    return call


BARE = "bare httpx2"
BARE_AIOHTTP = "bare aiohttp"
OURS = "modelwrap"
OURS_ON_AIOHTTP = "modelwrap on aiohttp"
OPENAI = "openai"

CONTENDERS = [
    Contender(BARE, "httpx2", "httpx2", httpx2_blocking, httpx2_concurrent),
    Contender(BARE_AIOHTTP, "aiohttp", "aiohttp", None, aiohttp_concurrent),
    Contender("bare pyreqwest", "pyreqwest", "pyreqwest.client", pyreqwest_blocking, pyreqwest_concurrent),
    Contender(OURS, ".", "modelwrap", modelwrap_blocking, modelwrap_on_httpx2),
    Contender(OURS_ON_AIOHTTP, ".[fast]", "modelwrap", None, modelwrap_on_aiohttp),
    Contender(OPENAI, "openai", "openai", openai_blocking, openai_concurrent),
    Contender("openai on aiohttp", "openai[aiohttp]", "openai", None, openai_on_aiohttp),
    Contender("litellm", "litellm", "litellm", litellm_blocking, litellm_concurrent),
    Contender("langchain-openai", "langchain-openai", "langchain_openai", langchain_blocking, langchain_concurrent),
    Contender("pydantic-ai", "pydantic-ai-slim[openai]", "pydantic_ai", pydantic_ai_blocking, pydantic_ai_concurrent),
    Contender("any-llm", "any-llm-sdk[openai]", "any_llm", any_llm_blocking, any_llm_concurrent),
]
