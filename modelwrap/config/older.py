"""Configs that were written for AgentScope's other model types, told in the types and keys of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from modelwrap import registry
from modelwrap.capabilities import presets
from modelwrap.config.sources import OLD_NAMES
from modelwrap.jsonc import Path

Told: TypeAlias = tuple[Path, str]
"""A key of the config as it was written, and what is to be said of it."""

_DASHSCOPE = "https://dashscope.aliyuncs.com/api/v1"

# What Ollama's own API calls its options, and OpenAI's format too, under these names.
_OLLAMA_OPTIONS = {
    "num_predict": "max_tokens",
    **{name: name for name in ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty")},
}
# What LiteLLM calls hosts that have a preset under another name.
_LITELLM_HOSTS = {
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "nvidia_nim": "nvidia",
    "hosted_vllm": "vllm",
    "ollama_chat": "ollama",
    "lm_studio": "lmstudio",
}
_LITELLM_TYPES = {"anthropic": "claude", "gemini": "gemini", "openai": "openai"}
# What LiteLLM's other prefixes want, of which a name alone says too little.
_LITELLM_ELSEWHERE = {
    "azure": '"azure_openai" with its azure_endpoint',
    "azure_ai": '"azure_openai" with its azure_endpoint',
    "vertex_ai": '"gemini" with "client_args": {"vertexai": true}',
}
_LITELLM_FAMILIES = {"claude": "claude", "gemini": "gemini"}


@dataclass
class Rewritten:
    """Hold a config in today's words, what was lost on the way, and what stands in the way."""

    data: dict[str, Any] = field(repr=False)
    lost: list[Told] = field(default_factory=list)
    mistakes: list[Told] = field(default_factory=list)

    def name_of(self, key: str) -> str:
        """Give the name under which a key stands, which may be its old one."""
        return OLD_NAMES[key] if key not in self.data and OLD_NAMES[key] in self.data else key

    def become(self, model_type: str, preset: str | None = None) -> None:
        self.data[self.name_of("model_type")] = model_type
        if preset is not None:
            self.data.setdefault("preset", preset)

    def move(self, key: str, holder: str, name: str) -> None:
        """Put what stands at the top into an object, unless that has it already; null says nothing."""
        value = self.data.pop(key, None)
        if value is not None:
            self.put(holder, name, value)

    def put(self, holder: str, name: str, value: Any) -> None:
        inner = self.data.get(holder)
        if inner is None or isinstance(inner, Mapping):
            self.data[holder] = {name: value, **(inner or {})}

    def lose(self, path: Path, why: str) -> None:
        self.lost.append((path, why))


def rewritten(data: Mapping[str, Any]) -> Rewritten:
    """Tell a config in today's types; one that is of today is given as it is."""
    result = Rewritten(dict(data))
    name = data.get("model_type", data.get("type"))
    if isinstance(name, str) and not registry.is_registered(name) and (rewrite := _TYPES.get(name)):
        rewrite(result)
    return result


def _hosted(model_type: str, preset: str) -> Callable[[Rewritten], None]:
    return lambda result: result.become(model_type, preset)


def _yi(result: Rewritten) -> None:
    result.become("openai", "yi")
    for name in ("max_tokens", "top_p", "temperature"):
        result.move(name, "generate_args", name)


def _ollama(model_type: str) -> Callable[[Rewritten], None]:
    def rewrite(result: Rewritten) -> None:
        result.become(model_type, "ollama")
        result.move("host", "client_args", "base_url")
        if result.data.pop("keep_alive", None) is not None:
            result.lose(("keep_alive",), _OVER_OWN_ROUTE.format("how long a model stays loaded"))
        options = result.data.pop("options", None)
        for name, value in options.items() if isinstance(options, Mapping) else ():
            if name in _OLLAMA_OPTIONS:
                result.put("generate_args", _OLLAMA_OPTIONS[name], value)
            else:
                result.lose(("options", name), _OVER_OWN_ROUTE.format("this option"))

    return rewrite


_OVER_OWN_ROUTE = (
    "Ollama takes {} over its own route only, and is now asked over OpenAI's; model_configs/ollama.json shows a config "
    "for the other, under ollama-native"
)


def _dashscope_images(result: Rewritten) -> None:
    result.become("post_api_dall_e")
    data = result.data
    model = data.pop(result.name_of("model"), None) or data.get(result.name_of("config_name"))
    data.setdefault("api_key", "${DASHSCOPE_API_KEY}")
    data["api_url"] = f"{_DASHSCOPE}/services/aigc/text2image/image-synthesis"
    data["headers"] = {"X-DashScope-Async": "enable"}
    data["messages_key"], data["parameters_key"] = "input.prompt", "parameters"
    data["json_args"] = {"model": model}
    data["poll"] = {"url": f"{_DASHSCOPE}/tasks/{{output.task_id}}", "status_path": "output.task_status"}
    data.setdefault("timeout", 300)


def _litellm(result: Rewritten) -> None:
    key = result.name_of("model")
    name = result.data.get(key) or result.data.get(result.name_of("config_name"))
    if not isinstance(name, str):
        return
    host, slash, model = name.partition("/")
    if not slash:
        family = next((known for known in _LITELLM_FAMILIES if name.startswith(known)), "openai")
        result.become(_LITELLM_FAMILIES.get(family, "openai"))
        return
    preset = _LITELLM_HOSTS.get(host, host)
    if host in _LITELLM_TYPES:
        result.become(_LITELLM_TYPES[host])
    elif preset in presets():
        result.become("openai", preset)
    else:
        where = _LITELLM_ELSEWHERE.get(host, '"openai" with its base_url, or the type of its own')
        said = f"nothing here is known of LiteLLM's {host!r} as a host of models; write {where}"
        result.mistakes.append(((key,), said))
        return
    result.data[key] = model


_TYPES: dict[str, Callable[[Rewritten], None]] = {
    **dict.fromkeys(
        ("dashscope_chat", "tongyi_chat", "dashscope_multimodal", "DashScopeChatWrapper", "DashScopeMultiModalWrapper"),
        _hosted("openai", "dashscope"),
    ),
    **dict.fromkeys(
        ("dashscope_text_embedding", "DashScopeTextEmbeddingWrapper"), _hosted("openai_embedding", "dashscope")
    ),
    **dict.fromkeys(("dashscope_image_synthesis", "DashScopeImageSynthesisWrapper"), _dashscope_images),
    **dict.fromkeys(("zhipuai_chat", "ZhipuAIChatWrapper"), _hosted("openai", "zhipuai")),
    **dict.fromkeys(("zhipuai_embedding", "ZhipuAIEmbeddingWrapper"), _hosted("openai_embedding", "zhipuai")),
    **dict.fromkeys(("ollama_chat", "OllamaChatWrapper"), _ollama("openai")),
    **dict.fromkeys(("ollama_generate", "OllamaGenerationWrapper"), _ollama("openai_completion")),
    **dict.fromkeys(("ollama_embedding", "OllamaEmbeddingWrapper"), _ollama("openai_embedding")),
    **dict.fromkeys(("yi_chat", "YiChatWrapper"), _yi),
    **dict.fromkeys(("litellm_chat", "LiteLLMChatWrapper"), _litellm),
}
"""AgentScope's types for hosts of its time, and its classes for them."""
