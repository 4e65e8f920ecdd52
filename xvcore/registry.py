"""Names that users type (datasets, architectures, families): a small registry for each kind, filled on first use."""

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from xvcore import plugins
from xvcore.errors import UnknownNameError, XvError, unknown_name

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name; importing the modules that hold them registers them, so that a new entry is a new file.

    Parameters
    ----------
    kind : what an entry is, for messages, e.g. ``"method"``
    patterns : dotted names with ``*`` of the modules that register entries: ``"xvcore.data.*"`` those of a package,
        ``"xvcore.*.tables"`` that one of each folder, and of each plug-in (:mod:`xvcore.plugins`) that is a package
    is_final : whether nothing amends an entry once it is there, so that the other modules need not be imported for it

    Examples
    --------
    >>> from xvcore.models import architectures
    >>> "partbirds_wide" in architectures
    True
    """

    def __init__(self, kind: str, *patterns: str, is_final: bool = False) -> None:
        self.kind = kind
        self._is_final = is_final
        self._patterns = patterns
        self._entries: dict[str, Entry] = {}
        self._changes: dict[str, list[Callable[[Entry], Entry]]] = {}
        self._is_loaded = self._has_own = False
        self._loading = threading.RLock()

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that files its argument under ``name``; a name can be taken once, xv's own come first."""

        def keep(entry: Entry) -> Entry:
            if plugins.is_importing():
                self._load_own()
            if name in self._entries:
                raise XvError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            for change in self._changes.get(name, ()):
                self._entries[name] = change(self._entries[name])
            return entry

        return keep

    def amend(self, name: str, change: Callable[[Entry], Entry]) -> None:
        """Replace an entry by what ``change`` makes of it: now, if it is there, else as soon as it is."""
        if self._is_final:
            raise XvError(f"{self.kind} {name!r} cannot be amended: entries of this registry are final")
        self._changes.setdefault(name, []).append(change)
        if name in self._entries:
            self._entries[name] = change(self._entries[name])

    def __getitem__(self, name: str) -> Entry:
        self._load_for(name)
        if name not in self._entries:
            raise self.unknown(name, self._entries)
        return self._entries[name]

    def get(self, name: str) -> Entry | None:
        """Return the entry of a name, None where there is none."""
        self._load_for(name)
        return self._entries.get(name)

    def __contains__(self, name: object) -> bool:
        self._load_for(name)
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def unknown(self, name: str, known: Iterable[str]) -> UnknownNameError:
        """Return the error for a name that is not known, with the near ones and the plug-ins that might have had it."""
        failed = [f"plug-in {plugin} could not be imported ({reason})" for plugin, reason in plugins.problems().items()]
        return UnknownNameError("; ".join([str(unknown_name(self.kind, name, known)), *failed]))

    def _load_for(self, name: object) -> None:
        if not (self._is_final and name in self._entries):
            self._load()

    def _load(self) -> None:
        if self._is_loaded:
            return
        with self._loading:
            self._load_own()
            for pattern in self._patterns:
                plugins.extend(pattern.partition(".*.")[2])
            self._is_loaded = True

    def _load_own(self) -> None:
        """Import xv's own modules; whoever is imported by one of them finds it so already."""
        if self._has_own:
            return
        self._has_own = True
        try:
            for pattern in self._patterns:
                for module in plugins.modules(pattern):
                    importlib.import_module(module)
        except BaseException:
            self._has_own = False  # what is left out would be unknown without a word
            raise
