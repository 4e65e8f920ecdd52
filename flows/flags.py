"""The flags that all commands over whole classes take, in one place; a flag more is a field more of `ClassFlags`."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from xvcore.errors import XvError

Dataset = Annotated[str, typer.Option(help="KIND[:PATH][?key=value]: imagenet, imagefolder, cub, partbirds")]
Models = Annotated[
    list[str], typer.Option("--model", help="NAME[@WEIGHTS][?input=PX&resize=PX&labels=FILE&name=KEY]; repeatable")
]
Classes = Annotated[str, typer.Option(help="Ids or names of classes, separated by commas; none = all")]
StoreUrl = Annotated[str, typer.Option("--store", help="Folder or fsspec URL of the results")]
ClassMap = Annotated[
    list[str], typer.Option("--class-map", help="CLASS=OUTPUT, where names do not tell (index, WordNet id or name)")
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
ShardSize = Annotated[int, typer.Option(help="Classes of one shard", min=1)]
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
    shard_size: ShardSize = 1
    at_once: AtOnce = 32

    def changes(self) -> dict[str, str]:
        """Return the parameters of the method that were set."""
        most = {} if self.max_images is None else {"max_images": str(self.max_images)}
        return pairs(self.settings, "--set") | most

    def request(self) -> dict[str, Any]:
        """Return the fields of a request, but for the settings."""
        apart = {"model", "settings", "max_images"}
        given = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name not in apart}
        fan_out = {name: given.pop(name) for name in ("to", "pool", "ray_address", "shard_size", "at_once")}
        read = {"classes": names(self.classes), "class_map": pairs(self.class_map, "--class-map")}
        return {**given, **read, "models": self.model, "fan_out": fan_out}

    def fill(self, request_type: Any) -> Any:
        """Return the request of a method, its form filled in."""
        from xvcore.parameters import replaced

        return request_type.filled(replaced(request_type.settings_type(), self.changes()), **self.request())


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


def names(text: str) -> list[str]:
    """Return names that commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """Return what the texts NAME=VALUE of an option say; XvError where one is not of that form."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise XvError(f"{option} {text!r}: expected NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def _default(flag: dataclasses.Field) -> Any:
    if flag.default_factory is not dataclasses.MISSING:
        return flag.default_factory()
    return inspect.Parameter.empty if flag.default is dataclasses.MISSING else flag.default
