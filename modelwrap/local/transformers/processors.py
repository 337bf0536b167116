"""What makes inputs of texts and images, loaded also where what it would need for videos is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.errors import BadRequest


def processor_of(folder: str, config: Any, files: Mapping[str, Any], trust: Mapping[str, Any]) -> Any | None:
    """Load a folder's processor; None where it is nothing more than a tokenizer."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.utils import is_torchvision_available

    own_class: Any = PROCESSOR_MAPPING.get(type(config), None)
    if own_class is not None and "video_processor" in own_class.get_attributes() and not is_torchvision_available():
        return _without_videos(own_class, folder, files, trust)
    processor = transformers.AutoProcessor.from_pretrained(folder, **files, **trust)
    return processor if isinstance(processor, transformers.ProcessorMixin) else None


def _without_videos(own_class: Any, folder: str, files: Mapping[str, Any], trust: Mapping[str, Any]) -> Any:
    """Put a processor together as the library does, but for its part for videos, which needs torchvision."""
    import transformers

    class WithoutVideos(own_class):  # type: ignore[misc] # a class that is known only now
        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            return type(part) if name == "video_processor" else super().check_argument_for_proper_class(name, part)

        def to_dict(self) -> dict[str, Any]:
            return {name: value for name, value in super().to_dict().items() if name != "video_processor"}

    # By this name others would load what it saves.
    WithoutVideos.__name__ = own_class.__name__
    makers: dict[str, Any] = {
        "tokenizer": transformers.AutoTokenizer,
        "image_processor": transformers.AutoImageProcessor,
        "feature_extractor": transformers.AutoFeatureExtractor,
    }
    told, _ = own_class.get_processor_dict(folder, **files)
    parts = [
        _NoVideos() if name == "video_processor" else makers[name].from_pretrained(folder, **files, **trust)
        for name in own_class.get_attributes()
    ]
    return WithoutVideos.from_args_and_dict(parts, told)


class _NoVideos:
    """Stand where a processor of videos would, and refuse them."""

    model_input_names: tuple[str, ...] = ()

    def __call__(self, *given: Any, **named: Any) -> Any:
        raise BadRequest("videos: this model reads them only with torchvision: pip install torchvision", sent=False)
