"""What models and their hosts accept, as data with sources and dates; codecs ask it, configs override it."""

from modelwrap.capabilities.facts import Facts
from modelwrap.capabilities.keys import SAMPLING, mistakes
from modelwrap.capabilities.presets import Preset, preset_at, presets
from modelwrap.capabilities.traits import Traits, traits_for

__all__ = ["SAMPLING", "Facts", "Preset", "Traits", "mistakes", "preset_at", "presets", "traits_for"]
