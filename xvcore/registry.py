"""Names that users type (datasets, architectures, methods): one small registry per package, filled on first use."""

import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from xvcore.errors import XvError, unknown_name

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries by name; importing the package's modules registers them, so that a new entry is a new file.

    Parameters
    ----------
    kind : what an entry is, for messages, e.g. ``"method"``
    package : dotted name of the package whose modules register entries
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, Entry] = {}
        self._is_loaded = False
        self._loading = threading.RLock()

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that files its argument under ``name``; a name can be taken once."""

        def keep(entry: Entry) -> Entry:
            if name in self._entries:
                raise XvError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return keep

    def __getitem__(self, name: str) -> Entry:
        self._load()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def _load(self) -> None:
        if self._is_loaded:
            return
        with self._loading:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._is_loaded = True
