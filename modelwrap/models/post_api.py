"""Any service that takes a POST of JSON, from a config alone: AgentScope's keys, and where the answer stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from modelwrap.capabilities import Traits
from modelwrap.config import (
    Arguments,
    ClientArgs,
    ConfigPart,
    Count,
    Headers,
    ModelConfig,
    Query,
    Seconds,
    Verify,
    check_transport,
)
from modelwrap.config.credentials import mistake
from modelwrap.errors import CallError, ConfigError, ContextTooLong, UnsupportedParameter
from modelwrap.jsonc import Path
from modelwrap.models.attempts import Attempted, sent_once
from modelwrap.models.call import Call, Chunks
from modelwrap.models.embedding import EmbeddingModel
from modelwrap.models.gathering import GatheringModel
from modelwrap.models.http import Decoder
from modelwrap.models.messages import messages_from
from modelwrap.models.post_api_jobs import Job, JobConfig, finished, submitted_once
from modelwrap.runtime.base import HttpResponse, Runtime
from modelwrap.secrets import Secret
from modelwrap.types import Change, Message, Reply
from modelwrap.wire.embeddings import batches, inputs_of
from modelwrap.wire.http import Endpoint, HttpRequest, Timeouts, WireCall
from modelwrap.wire.places import place_of
from modelwrap.wire.post_api import Kind, Service
from modelwrap.wire.post_api_bodies import decoder_for, stream_in
from modelwrap.wire.transcript import AS_TRANSCRIPT, CHAT_TEMPLATES, templated, texts_of, transcript
from modelwrap.wire.urls import normalised_url, origin, with_query

# What stands before a position that is to be filled is sent as null.
_MOST_POSITIONS = 100


def _place(value: object) -> object:
    if isinstance(value, str):
        try:
            place_of(value)
        except ValueError as error:
            raise mistake(str(error)) from None
    return value


def _place_to_fill(value: object) -> object:
    steps = place_of(value) if isinstance(value, str) and _place(value) else ()
    if steps and not isinstance(steps[0], str):
        raise mistake("must begin with a name, as in inputs[0].text")
    if any(isinstance(step, int) and step >= _MOST_POSITIONS for step in steps):
        raise mistake(f"a position must be below {_MOST_POSITIONS}")
    return value


PlaceText = Annotated[str, Field(min_length=1), BeforeValidator(_place)]
PlaceToFill = Annotated[str, Field(min_length=1), BeforeValidator(_place_to_fill)]


class PostArgs(ConfigPart):
    model_config = ConfigDict(extra="allow")

    timeout: Seconds | None = Field(default=None, description="Seconds for a call in all.")
    params: Query = Field(default={}, description="Query parameters that go with every request.")
    verify: Verify = Field(default=True, description="As in `client_args`.")


class PostAPIConfig(ModelConfig):
    api_url: str = Field(min_length=1, description="Where the request goes, whole: nothing is appended to it.")
    headers: Headers = Field(default={}, description="Headers that go with every request.")
    json_args: Arguments = Field(default={}, description="What goes into the JSON beside the messages.")
    messages_key: PlaceToFill = Field(
        default="inputs",
        description="Where in the JSON the prompt or the messages go, as in `inputs`, `input.prompt` or "
        "`instances[0].text`.",
    )
    parameters_key: PlaceToFill | None = Field(
        default=None,
        description="Where parameters go, those of a call and of `generate_args`, as in `parameters`; the top of the "
        "JSON if not given.",
    )
    prompt: Literal["string", "messages"] | None = Field(
        default=None,
        description="What goes under `messages_key`: one text, or a list of messages. Not given, a string goes as it "
        "is, and messages as the type does it.",
    )
    chat_template: Annotated[
        str | None,
        BeforeValidator(lambda value: _known_template(value)),
        WithJsonSchema({"enum": sorted(CHAT_TEMPLATES)}),
    ] = Field(
        default=None,
        description="How several messages become one text: with the marks of a model's chat template. Not given, as "
        "lines that begin with their speaker.",
    )
    max_length: int | None = Field(
        default=None,
        description="How many characters a prompt may have; a longer one is `ContextTooLong`, never cut. Below 1: any.",
    )
    timeout: Seconds = Field(default=30.0, description="Seconds for a call in all.")
    max_retries: Annotated[Count, Field(ge=1)] = Field(default=3, description="How often a call is tried in all.")
    retry_interval: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        default=None,
        description="Seconds before the second try; twice that before the third, and so on. Not given, waits double.",
    )
    post_args: PostArgs = Field(
        default_factory=PostArgs,
        description="What old files gave to `requests.post`: `timeout`, `params` and `verify` do what they did there, "
        "and a warning names the rest.",
    )
    idempotent: bool = Field(
        default=False,
        description="Whether a request whose answer never came may be sent again; refusals are tried again anyway.",
    )
    answer_path: PlaceText | None = Field(
        default=None,
        description="Where the answer stands, as in `data.choices[0].text`. Not given, it is looked for where services "
        "put it.",
    )
    piece_path: PlaceText | None = Field(default=None, description="The same in each piece of a streamed answer.")
    pieces: Literal["new", "all"] = Field(
        default="new",
        description="What each piece of a streamed answer holds: what is `new` in it, or `all` that came so far, as "
        "with DashScope's and SGLang's own streams unless they are asked otherwise.",
    )
    usage_path: PlaceText | None = Field(default=None, description="Where the counts of tokens stand.")
    error_path: PlaceText | None = Field(
        default=None, description="What stands here, unless it is empty, is an error, whatever the status."
    )
    stream_args: Arguments | None = Field(
        default=None,
        description='What goes into the JSON where the answer is to be streamed, as in `{"stream": true}`; not given, '
        "the service answers in one piece.",
    )
    stream_url: str | None = Field(
        default=None, min_length=1, description="Where streamed calls go, for services that have another URL for them."
    )
    poll: JobConfig | None = Field(
        default=None, description="For services that take a job, and are asked for its result later."
    )

    def unread(self) -> Iterator[Path]:
        yield from (("post_args", name) for name in self.post_args.model_extra or {})
        yield from self.given("client_args.base_url", "client_args.project", "organization")

    def remarks(self) -> Iterator[tuple[Path, str]]:
        yield from super().remarks()
        if self.messages_key in self.json_args:
            yield ("json_args", self.messages_key), "never goes out: the messages stand there; see messages_key"

    def client(self) -> ClientArgs:
        """Give `client_args`, and where they say nothing, what the keys of old files say."""
        older = {
            "default_query": self.post_args.params,
            "max_retries": self.max_retries - 1,
            "verify": self.post_args.verify,
        }
        missing = older.keys() - self.client_args.model_fields_set
        return self.client_args.model_copy(update={name: older[name] for name in missing})

    def timeouts(self) -> Timeouts:
        return self.client_args.timeouts(Timeouts(total=self.post_args.timeout or self.timeout))

    def service(self, kind: Kind) -> Service:
        """Describe the service to its codec."""
        return Service(
            kind=kind,
            input=place_of(self.messages_key),
            parameters=place_of(self.parameters_key or ""),
            always=self.json_args,
            streamed={} if self.stream_args is None and self.stream_url else self.stream_args,
            answer=place_of(self.answer_path or ""),
            piece=place_of(self.piece_path or ""),
            pieces_grow=self.pieces == "all",
            usage=place_of(self.usage_path or ""),
            error=place_of(self.error_path or ""),
        )


def _known_template(value: object) -> object:
    if value is not None and not (isinstance(value, str) and value in CHAT_TEMPLATES):
        raise mistake(f"must be one of {', '.join(CHAT_TEMPLATES)}")
    return value


def _at_the_same_host(stream_url: str, url: str, client: ClientArgs) -> str:
    try:
        found = with_query(normalised_url(stream_url), client.default_query)
    except ValueError as error:
        raise ConfigError(f"stream_url: {error}") from None
    if origin(found) != origin(url):
        raise ConfigError("stream_url: must be at the host of api_url, for the headers with the key go there too")
    return found


def _length(given: Any) -> int:
    """Count the characters of a prompt."""
    if isinstance(given, str):
        return len(given)
    if isinstance(given, dict):
        counted = [given.get("content") or given.get("text")] if {"role", "type"} & given.keys() else [*given.values()]
        return _length(counted)
    return sum(map(_length, given)) if isinstance(given, list) else 0


def _is_for_the_service(given: Any) -> bool:
    """Tell what can be no messages: an object without a role, or a list of texts."""
    if isinstance(given, dict):
        return "role" not in given
    return isinstance(given, (list, tuple)) and bool(given) and all(isinstance(text, str) for text in given)


class PostAPI(GatheringModel):
    """POST what is given under one key of a JSON object, and find the answer in what comes back.

    Of messages a single one of a user goes as its text, several as lines that begin with their speaker; an object that
    is no message and a list of texts go as they are. The reply has the `text` or the `image_urls` that are found where
    services put them; its `raw` is all that came.
    """

    Config: ClassVar[type[PostAPIConfig]] = PostAPIConfig
    kind: ClassVar[Kind] = "any"
    sends: ClassVar[Literal["string", "messages"]] = "string"
    """What messages become, unless the config says so itself."""

    def __init__(self, name: str, model: str, endpoint: Endpoint, traits: Traits = Traits()) -> None:
        super().__init__(name, model, endpoint, traits)
        self.service = Service(kind=self.kind)
        self.codec = self.service
        self.prompt: Literal["string", "messages"] | None = None
        self.chat_template: str | None = None
        self.max_length: int | None = None
        self.retry_interval: float | None = None
        self.idempotent = False
        self.stream_url: str | None = None
        self.job: Job | None = None

    @classmethod
    def from_config(cls, config: PostAPIConfig) -> Self:
        client = config.client()
        try:
            url = with_query(normalised_url(config.api_url), client.default_query)
        except ValueError as error:
            raise ConfigError(f"api_url: {error}") from None
        headers = {**config.headers, **client.default_headers}
        if config.api_key:
            headers = {"authorization": Secret(f"Bearer {config.api_key.reveal()}"), **headers}
        has_key = any(isinstance(value, Secret) and value for value in [*headers.values(), *config.json_args.values()])
        check_transport(url, has_key=has_key, allow_http=config.allow_http, where="api_url")
        endpoint = Endpoint(url, headers, connection=client.connection(url, where="api_url"))
        model = cls(config.config_name, config.model, endpoint)
        model.configure(config)
        model.timeouts = config.timeouts()
        model.max_retries = client.max_retries
        model.service = model.codec = config.service(cls.kind)
        model.prompt, model.chat_template = config.prompt, config.chat_template
        model.max_length, model.retry_interval = config.max_length, config.retry_interval
        model.idempotent = config.idempotent
        model.stream_url = _at_the_same_host(config.stream_url, url, client) if config.stream_url else None
        model.job = config.poll.job(url) if config.poll else None
        return model

    # What goes out.

    async def to_input(self, call: Call, runtime: Runtime) -> Any:
        given = self._given(call)
        length = self._length(given)
        if self.max_length is not None and 0 < self.max_length < length:
            raise ContextTooLong(
                f"the prompt has {length} characters, and max_length allows {self.max_length}", sent=False
            )
        return given

    def _length(self, given: Any) -> int:
        return _length(given)

    def _given(self, call: Call) -> Any:
        if isinstance(call.input, str) and self.prompt != "messages":
            return call.input
        if self.kind == "any" and self.prompt is None and _is_for_the_service(call.input):
            return call.input
        messages = messages_from(call.input, call.lasting)
        if (self.prompt or self.sends) == "messages":
            return messages
        return self._as_text(messages, call)

    def _as_text(self, messages: list[Message], call: Call) -> str:
        if self.chat_template is not None:
            call.lasting.append(
                Change("emulated", "messages", f"sent as a text with the marks of {self.chat_template}")
            )
            return templated(messages, self.chat_template)
        if len(messages) == 1 and messages[0]["role"] == "user":
            return texts_of(messages)[0]
        call.lasting.append(AS_TRANSCRIPT)
        return transcript(messages)

    def _request(self, wire: WireCall, call: Call, traits: Traits) -> HttpRequest:
        request = replace(super()._request(wire, call, traits), replayable=self.idempotent)
        if call.stream and self.stream_url:
            return replace(request, url=with_query(self.stream_url, call.extra_query))
        return request

    # What comes back.

    def _decoder(self, response: HttpResponse) -> Decoder:
        return decoder_for(response.headers, self.service.knows)

    def _stream_in(self, body: bytes, headers: Mapping[str, str]) -> Decoder | None:
        return stream_in(body, headers) if self.kind in ("any", "chat") else None

    async def _exchange(
        self, request: HttpRequest, wire: WireCall, call: Call, runtime: Runtime, attempt: Attempted
    ) -> Reply:
        if self.job is None:
            return await super()._exchange(request, wire, call, runtime, attempt)

        async def send(asked: HttpRequest) -> tuple[bytes, dict[str, str]]:
            response = await self._send(asked.prepared(call.timeouts), call, runtime, attempt)
            attempt.answered(response.status, None)
            if not 200 <= response.status < 300:
                raise await self._refusal(response)
            return await response.read(), dict(response.headers)

        holds_answer = self.service.holds_answer
        body, headers = await finished(self.job, self.endpoint, request, send, call.deadline, runtime, holds_answer)
        with submitted_once():
            return self.service.from_response(body, headers, wire, self.traits)

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        with self._as_configured(call):
            return await super().complete(call, runtime)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        if self.job is not None:
            raise UnsupportedParameter("stream: the result of a job comes in one piece", sent=False)
        with self._as_configured(call):
            return await super().open(call, runtime)

    @contextmanager
    def _as_configured(self, call: Call) -> Iterator[None]:
        """Say of an error whether and when the config wants another try."""
        try:
            with sent_once(replayable=self.idempotent):
                yield
        except CallError as error:
            if self.retry_interval is not None:
                error.wait = self.retry_interval * max(len(call.history), 1)
            raise


class PostAPIChat(PostAPI):
    """The same for a service that takes messages, and answers with a text."""

    kind = "chat"
    sends = "messages"


class PostAPIDallE(PostAPI):
    """The same for a service that makes images of a text; `reply.image_urls` says where they are.

    Of messages the last one of a user goes as the text.
    """

    kind = "image"

    def _as_text(self, messages: list[Message], call: Call) -> str:
        return super()._as_text([message for message in messages if message["role"] == "user"][-1:] or messages, call)


class PostAPIEmbeddingConfig(PostAPIConfig):
    pooling: Literal["none", "mean", "first"] = Field(
        default="none", description="How the vectors of a text's tokens become one, where a service gives those."
    )

    max_inputs: Annotated[Count, Field(ge=1)] | None = Field(
        default=None,
        description="How many texts one request may hold; a longer list goes in several. Not given, in one.",
    )

    def service(self, kind: Kind) -> Service:
        return replace(super().service(kind), pooling=self.pooling)


class PostAPIEmbedding(PostAPI, EmbeddingModel):
    """The same for a service that makes vectors of a text, or of a list of texts; `reply.embeddings` has them."""

    Config = PostAPIEmbeddingConfig
    kind = "embedding"
    max_inputs: int | None = None

    def configure(self, config: ModelConfig) -> None:
        super().configure(config)
        if isinstance(config, PostAPIEmbeddingConfig):
            self.max_inputs = config.max_inputs

    def batches(self, given: Any) -> list[Any]:
        if self.max_inputs is None or not isinstance(given, list):
            return [given]
        return batches(given, self.max_inputs)

    def _given(self, call: Call) -> Any:
        if isinstance(call.input, (list, tuple)) and all(isinstance(item, (str, list)) for item in call.input):
            return inputs_of(list(call.input))
        return super()._given(call)

    def _length(self, given: Any) -> int:
        """Count the longest of several texts: each is a prompt of its own."""
        return max(map(_length, given), default=0) if isinstance(given, list) else _length(given)
