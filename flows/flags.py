"""The flags that all commands over whole classes take, in one place; a flag more is a field more of `ClassFlags`."""

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xvcore.errors import ParameterError, StoreError, UnknownNameError, in_one_line

if TYPE_CHECKING:
    from xvcore.store import Store

Dataset = Annotated[
    str,
    typer.Option(
        help="KIND[:PATH][?key=value]: imagefolder, imagenet, cub, csv, parquet, webdataset …, see xv list datasets"
    ),
]
Models = Annotated[
    list[str], typer.Option("--model", help="NAME[@WEIGHTS][?input=PX&resize=PX&labels=FILE&name=KEY]; repeatable")
]
Classes = Annotated[
    str,
    typer.Option(
        help="Ids or names of classes, separated by commas, one that holds a comma in double quotes; "
        "@FILE: one a line; none = all"
    ),
]
StoreUrl = Annotated[str, typer.Option("--store", help="Folder or fsspec URL of the results")]
ClassMap = Annotated[
    list[str],
    typer.Option(
        "--class-map",
        help="CLASS=OUTPUT, where names do not tell (index, WordNet id or name), a CLASS with = in double quotes; "
        '@FILE: JSON {"CLASS": "OUTPUT"}, or a CLASS=OUTPUT a line; repeatable',
    ),
]
Set = Annotated[list[str], typer.Option("--set", help="Any parameter of the method, e.g. mask.smooth_steps=100")]
MaxImages = Annotated[
    int | None, typer.Option(help="Images of a class that are looked at [default: see xv list parameters]", min=1)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")]
BatchSize = Annotated[int, typer.Option(help="Images at once; does not change the numbers", min=1)]
Shard = Annotated[str, typer.Option(help="K/N: only the K-th and every N-th class after it; N processes share a store")]
To = Annotated[
    Literal["here", "pool", "ray"],
    typer.Option("--fan-out", help="Where shards are computed: here, by the workers or jobs of a work pool, on Ray"),
]
Pool = Annotated[str, typer.Option(help="Name of the work pool of --fan-out pool")]
RayAddress = Annotated[str, typer.Option(help="HOST:PORT of the cluster of --fan-out ray; auto: this machine's")]
ShardSize = Annotated[
    int | None, typer.Option(help="Classes of one shard [default: all here, elsewhere minutes of work]", min=1)
]
AtOnce = Annotated[int, typer.Option(help="Shards handed out at a time", min=1, max=200)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFlags:
    """What a command over whole classes was given.

    A flag that is called as its field of :class:`flows.classes.ClassesRequest` reaches the request as it is.
    """

    model: Models
    dataset: Dataset = "partbirds"
    classes: Classes = ""
    store: StoreUrl = "xv-store"
    max_images: MaxImages = None
    settings: Set = field(default_factory=list)
    class_map: ClassMap = field(default_factory=list)
    device: Device = "auto"
    batch_size: BatchSize = 16
    shard: Shard = "1/1"
    to: To = "here"
    pool: Pool = "xv"
    ray_address: RayAddress = "auto"
    shard_size: ShardSize = None
    at_once: AtOnce = 32

    def changes(self) -> dict[str, str]:
        """Return the parameters of the method that were set."""
        most = [] if self.max_images is None else [f"max_images={self.max_images}"]
        return pairs([*self.settings, *most], "--set")

    def request(self) -> dict[str, Any]:
        """Return the fields of a request, but for the settings."""
        apart = {"model", "settings", "max_images"}
        given = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name not in apart}
        fan_out = {name: given.pop(name) for name in ("to", "pool", "ray_address", "shard_size", "at_once")}
        class_map = mapped(self.class_map, "--class-map")
        read = {"classes": names(self.classes, "--classes"), "class_map": class_map}
        return {**given, **read, "models": self.model, "fan_out": fan_out}

    def check(self) -> None:
        """Refuse what the words alone tell to be wrong; neither Prefect nor any weights are needed for that.

        Raises
        ------
        XvError
            A shard, store, device, dataset, class or network that there is not.
        """
        from xvcore.data import open_dataset
        from xvcore.models.labels import check_map
        from xvcore.models.load import check_names
        from xvcore.runs.run import chosen_classes, device_of
        from xvcore.store import Store

        given = self.request()
        shard_of(self.shard, "--shard")
        self.changes()
        Store(self.store)
        device_of(self.device)
        for model in self.model:
            check_names(model)
        dataset = open_dataset(self.dataset)
        with _hint_of_quotes(self.classes):
            chosen_classes(dataset, given["classes"])
        check_map(given["class_map"], dataset.classes)

    def fill(self, request_type: Any) -> Any:
        """Return the request of a method, its form filled in."""
        from xvcore.parameters import replaced

        settings = replaced(request_type.settings_type(), self.changes())
        with as_flags():
            return request_type.filled(settings, **self.request())


def with_class_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes each flag of `ClassFlags` after its own parameters, for typer to read.

    The command itself has one parameter ``flags: ClassFlags`` that holds them.
    """

    @wraps(command)
    def with_flags(**given: Any) -> None:
        flags = {each.name: given.pop(each.name) for each in dataclasses.fields(ClassFlags)}
        command(**given, flags=ClassFlags(**flags))

    own = [each for name, each in inspect.signature(command).parameters.items() if name != "flags"]
    shared = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=_default(each), annotation=each.type)
        for each in dataclasses.fields(ClassFlags)
    ]
    by_name = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]
    with_flags.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {each.name: each.annotation for each in by_name}
    return with_flags


@contextmanager
def as_flags() -> Iterator[None]:
    """Say what a form refuses in the words of the command line: the flag, the value, what is expected."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        refused = [_in_words(each["loc"], each["input"], each["msg"]) for each in error.errors()]
        raise ParameterError("; ".join(refused)) from error


def opened(url: str) -> "Store":
    """Return the store that a flag, or a form, names.

    Raises
    ------
    StoreError
        Nothing was ever written to it: a misspelt address is no empty store.
    """
    from xvcore.store import Store

    store = Store(url)
    if not store.exists():
        raise StoreError(f"nothing was ever written to {store.url}")
    return store


def names(text: str, option: str) -> list[str]:
    """Return names that commas separate, or the lines of a file that follows an ``@``.

    A name that holds a comma, or begins with ``@``, stands in double quotes, and a double quote in it is doubled; lines
    of a file are names as they stand, without empty ones.

    Raises
    ------
    ParameterError
        Commas and no names, quotes that do not end, or a file that cannot be read.
    """
    if text.startswith("@"):
        found = [line.strip() for line in _file_of(text, option).splitlines() if line.strip()]
    else:
        found = [name for name in _unquoted(text, option) if name]
    if text.strip() and not found:
        raise ParameterError(f"{option} {text!r}: expected names, separated by commas")
    return found


def mapped(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return what the texts ``CLASS=OUTPUT`` of an option say; ``@FILE`` stands for the texts, or the JSON, of a file.

    A class that holds ``=``, or begins with ``@``, stands in double quotes, and a double quote in it is doubled.

    Raises
    ------
    ParameterError
        A text is not of that form, two say something else of one class, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for text in texts:
        said = _said_in(text, option) if text.startswith("@") else [_split(text, option)]
        for name, output in said:
            if found.setdefault(name, output) != output:
                raise ParameterError(f"{option}: {name} is given twice, as {found[name]!r} and as {output!r}")
    return found


def pairs(texts: Sequence[str], option: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """Return what the texts NAME=VALUE of an option say; ``form`` is how messages call that.

    Raises
    ------
    ParameterError
        One is not of that form, or two say something else of one name.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise ParameterError(f"{option} {text!r}: expected {form}")
        if found.setdefault(name, value) != value:
            raise ParameterError(f"{option}: {name} is given twice, as {found[name]!r} and as {value!r}")
    return found


def shard_of(text: str, name: str = "shard") -> tuple[int, int]:
    """Return K and N of a shard ``K/N``; ``name`` is what it is called in messages.

    Raises
    ------
    ParameterError
        Not of that form, or K is not from 1 to N.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
    if not found or int(found[1]) > int(found[2]):
        raise ParameterError(f"{name} {text!r}: expected K/N with K from 1 to N, e.g. 1/4")
    return int(found[1]), int(found[2])


_QUOTED = r'\s*"((?:[^"]|"")*)"\s*'


def _unquoted(text: str, option: str) -> list[str]:
    """Return what commas separate; commas between double quotes do not."""
    found, rest = [], text
    while True:
        if rest.lstrip().startswith('"'):
            quoted = re.match(rf"{_QUOTED}(,|$)", rest)
            if quoted is None:
                raise ParameterError(f"{option} {text!r}: a name in double quotes ends with a quote and a comma")
            found.append(quoted[1].replace('""', '"').strip())
            rest, is_last = rest[quoted.end() :], not quoted[2]
        else:
            name, comma, rest = rest.partition(",")
            found.append(name.strip())
            is_last = not comma
        if is_last:
            return found


def _split(text: str, option: str) -> tuple[str, str]:
    """Return class and output of ``CLASS=OUTPUT``, where either may stand in double quotes."""
    quoted = re.match(rf"{_QUOTED}=", text)
    name, equals, output = (quoted[1], "=", text[quoted.end() :]) if quoted else text.partition("=")
    name = name.replace('""', '"').strip() if quoted else name.strip()
    whole = re.fullmatch(_QUOTED, output)
    output = whole[1].replace('""', '"').strip() if whole else output.strip()
    is_open = not quoted and name.startswith('"')
    if not equals or not name or is_open:
        raise ParameterError(f"{option} {text!r}: expected CLASS=OUTPUT, a CLASS that holds = in double quotes")
    return name, output


def _said_in(text: str, option: str) -> list[tuple[str, str]]:
    """Return what a file says of classes: JSON of class to output, or a line each."""
    content = _file_of(text, option)
    if not content.lstrip().startswith("{"):
        return [_split(line, option) for line in content.splitlines() if line.strip()]
    try:
        said = json.loads(content, object_pairs_hook=list)
    except ValueError as error:
        raise ParameterError(f"{option} {text!r}: cannot be read as JSON ({error})") from error
    wrong = next((output for _, output in said if not isinstance(output, str | int) or isinstance(output, bool)), None)
    if wrong is not None:
        raise ParameterError(f"{option} {text!r}: output {wrong!r}: expected an index, WordNet id or name")
    return [(name, str(output)) for name, output in said]


def _file_of(text: str, option: str) -> str:
    try:
        return Path(text[1:]).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{option} {text!r}: the file cannot be read ({error})") from error


@contextmanager
def _hint_of_quotes(classes: str) -> Iterator[None]:
    """Say how a class with a comma is given, where a class is unknown and there are commas."""
    try:
        yield
    except UnknownNameError as error:
        if "," not in classes or classes.startswith("@"):
            raise
        hint = "a class that holds a comma stands in double quotes, or in a file: --classes @FILE"
        raise UnknownNameError(f"{error}; {hint}") from error


def _in_words(place: tuple[int | str, ...], value: Any, message: str) -> str:
    """Return what is wrong at a place of a request, with the flag that says it."""
    parts = [str(each) for each in place if isinstance(each, str)]
    message = message.removeprefix("Value error, ")
    if parts[:1] == ["settings"]:
        return f"--set {'.'.join(parts[1:])}={value}: {in_one_line(message)}"
    field_name = {"models": "model"}.get(parts[-1], parts[-1]) if parts else ""
    return f"{_FLAGS.get(field_name, field_name)} {value!r}: {in_one_line(message)}"


def _flag(name: str, hint: Any) -> str:
    (option,) = typing.get_args(hint)[1:]
    return (option.param_decls or (f"--{name.replace('_', '-')}",))[0]


_FLAGS = {name: _flag(name, hint) for name, hint in typing.get_type_hints(ClassFlags, include_extras=True).items()}
"""How each field is called on the command line."""


def _default(flag: dataclasses.Field) -> Any:
    if flag.default_factory is not dataclasses.MISSING:
        return flag.default_factory()
    return inspect.Parameter.empty if flag.default is dataclasses.MISSING else flag.default
