"""Commands that are imported when they are used: `brs --help` loads no network."""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, ``module:attribute`` in ``plugin.commands``, and its line."""

    place: str
    summary: str

    def load(self) -> click.Command:
        """Import the command's module and return the command."""
        module, _, attribute = self.place.partition(":")
        command: click.Command = getattr(
            import_module(f"plugin.commands.{module}"), attribute
        )
        return command


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; one is imported when it is asked for."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._commands: dict[str, click.Command | Entry] = {**entries}

    def __getitem__(self, name: str) -> click.Command:
        found = self._commands[name]
        if isinstance(found, Entry):
            found = self._commands[name] = found.load()
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def __init__(self, *, entries: Mapping[str, Entry], **settings: Any) -> None:
        super().__init__(**settings)
        self.entries, self.commands = entries, LazyCommands(entries)

    def format_commands(
        self, _context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write one line per command, from the table alone."""
        rows = [(name, entry.summary) for name, entry in sorted(self.entries.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
