"""Mistakes, collected, so that a person hears of all of them at once."""

from __future__ import annotations

from modelwrap.errors import ConfigError, MissingPackage, MissingSecret


class Problems:
    """Collect the mistakes of some configs and raise them as one error."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, error: ConfigError) -> None:
        # The frames below know the texts that were read, and with them the secrets.
        self._found.append(error.with_traceback(None))

    def take(self, others: Problems) -> None:
        """Add those of another collection."""
        self._found += others._found

    @property
    def missing_keys(self) -> list[str]:
        """The variables of keys that are not set, where nothing else is wrong."""
        if not all(isinstance(error, MissingSecret) and error.variable for error in self._found):
            return []
        return list(dict.fromkeys(error.variable for error in self._found if isinstance(error, MissingSecret)))

    @property
    def lacks(self) -> str:
        """What is not here, keys or packages, where nothing else is wrong."""
        if keys := ", ".join(self.missing_keys):
            return f"no key: {keys} not set"
        if not all(isinstance(error, (MissingPackage, MissingSecret)) for error in self._found):
            return ""
        return "; ".join(str(error) for error in self._found)

    def raise_any(self) -> None:
        """Raise what was collected; of the class that all share, if it is one."""
        if not self._found:
            return
        if len(self._found) == 1:
            raise self._found[0]
        kinds = {type(error) for error in self._found}
        kind = kinds.pop() if len(kinds) == 1 else ConfigError
        lines = "\n".join(str(error) for error in self._found).split("\n")
        keys = ", ".join(self.missing_keys)
        heading = f"{len(self._found)} mistakes in the model configs{f' ({keys} not set)' if keys else ''}:"
        raise kind("\n".join([heading, *(f"  {line}" for line in lines)]))
