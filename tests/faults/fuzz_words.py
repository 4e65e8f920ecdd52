"""What is typed: addresses, parameters and requests that nobody should write."""

import random
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from fuzz import Trial
from PIL import Image
from pydantic import ValidationError

from flows.analyse import AnalyseRequest
from flows.commands import every
from flows.flags import ClassFlags
from xvcore.data import open_dataset
from xvcore.errors import XvError
from xvcore.models import load
from xvcore.models.load import OPTIONS, Address, check_names
from xvcore.parameters import as_dict, replaced
from xvcore.runs.stage import pipelines
from xvcore.store import Store

NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "7",
    "-1",
    "1.5",
    "1e999",
    "nan",
    "-inf",
    "1_000",
    "٣",
    "²",
    "0x10",
    "9" * 30,
    " 4 ",
    "+5",
    "1e3",
)
TEXTS = (
    *("", " ", "a", "none", "None", "true", "random", "imagenet", "partbirds", "b00", "plain", "rgb", "bilinear", "auto"),
    *("é", "é", "\u202eabc", "名前", "\udc80", "a\0b", "a\nb", "\t", "\x1b[31m", "[red]x[/red]", "{x}", "%s", "%41", "%zz", "%"),
    *("'", '"', ";", "&", "?", "=", "@", ":", "#", "://", "..", ".", "/", "//", "\\", "~", "~nobody/x", "~/x", "a" * 300),
    *("/dev/null", "/proc/self/mem", "/nowhere/at/all", "a/b", "x=y", "a,b", ",", ",,", "-", "--help", "$HOME", "*", "?x"),
)  # fmt: skip


def word(chance: random.Random) -> str:
    """Return a text: one that is known to be awkward, a number, a few of them in a row, or letters at random."""
    kind = chance.random()
    if kind < 0.45:
        return chance.choice(TEXTS)
    if kind < 0.7:
        return chance.choice(NUMBERS)
    if kind < 0.85:
        return "".join(word(chance) for _ in range(chance.randint(1, 3)))[:2000]
    return "".join(chr(chance.choice((chance.randrange(32, 127), chance.randrange(1, 0x3000)))) for _ in range(6))


def _options(chance: random.Random, known: tuple[str, ...]) -> list[tuple[str, str]]:
    keys = (*known, *known, "inptu", "")
    return [(chance.choice(keys), word(chance)) for _ in range(chance.choice((0, 1, 1, 2, 3)))]


def _named(*parts: str) -> tuple[str, ...]:
    """Return how parts of an input may be named: as they are, or as Python writes them."""
    from urllib.parse import unquote

    found = {form for part in parts for each in (part, unquote(part)) for form in (each, repr(each), repr(each)[1:-1])}
    return tuple(sorted(found - {""}))


def networks(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw addresses of networks; small ones with random weights are loaded."""
    labels = folder / "labels.txt"
    labels.write_text("\n".join(f"name {n}" for n in range(7)))
    names = (
        *(
            "partbirds_narrow",
            "partbirds_wide",
            "squeezenet1_1",
            "resnet18",
            "partbirds_bagnet17",
            "partbird",
            "ResNet18",
        ),
        *("timm/", "timm/resnet18", "timm/nothing", "os:getcwd", "os.path:join", ":", "a:b:c", "nets:build", "timm"),
    )
    files = (
        "random",
        "random",
        "random",
        "IMAGENET1K_V1",
        str(labels),
        str(folder),
        "file:///nowhere.pt",
        "ftp://a/b",
        "",
    )

    def drawn(chance: random.Random) -> Trial:
        name = chance.choice(names) if chance.random() < 0.8 else word(chance)
        weights = chance.choice(files) if chance.random() < 0.8 else word(chance)
        at = "@" if chance.random() < 0.9 else ""
        options = _options(chance, tuple(OPTIONS))
        options = [
            (key, chance.choice((str(labels), "imagenet", value)) if key == "labels" else value)
            for key, value in options
        ]
        spec = (
            name + at + weights + ("?" if options or chance.random() < 0.1 else "") + "&".join(map("=".join, options))
        )

        def do() -> str:
            check_names(spec)
            address = Address.parse(spec)
            is_small = address.name.startswith("partbirds_") and address.weights == "random"
            if (
                not is_small
                or int(address.options.get("classes", 7)) > 2000
                or int(address.options.get("input", 7)) > 600
            ):
                return "names that there are"
            classifier = load(spec)
            assert classifier.name
            return "a network"

        return Trial(
            f"network {spec!r}",
            do,
            _named(spec, spec.partition("@")[0], *re.split("[@?]", spec), *re.split("[@?&=]", spec)),
        )

    return drawn


def datasets(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw addresses of datasets; those that can be opened give an image."""
    pictures = folder / "pictures"
    for name in ("jay", "owl ?", "train", "é"):
        (pictures / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(pictures / name / "1.png")
    kinds = ("partbirds", "imagefolder", "imagenet", "cub", "parbirds", "")
    options_of = ("classes", "images", "px", "seed", "split", "name", "synsets", "parts")

    def drawn(chance: random.Random) -> Trial:
        kind = chance.choice(kinds) if chance.random() < 0.9 else word(chance)
        path = chance.choice((str(pictures), str(folder), str(pictures / "owl ?"), word(chance), ""))
        colon = ":" if chance.random() < (0.2 if kind == "partbirds" else 0.9) else ""
        path = path if colon else ""
        options = _options(chance, options_of)
        spec = (
            kind + colon + path + ("?" if options or chance.random() < 0.1 else "") + "&".join(map("=".join, options))
        )

        def do() -> str:
            dataset = open_dataset(spec)
            assert dataset.name
            info = dataset.classes[0]
            records = dataset.images(info.class_id)
            assert records
            assert dataset.read(records[0])
            return "an image"

        said = (kind, spec.partition(":")[0], path, *(part for pair in options for part in pair))
        return Trial(f"dataset {spec!r}", do, _named(spec, *said))

    return drawn


def stores(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw addresses of stores, and names of runs and classes, which have to come back as they were written."""
    good = folder / "good"
    Store(good).write("classes", "d", "c", [{"class_idx": 0, "class_name": "c"}])
    protocols = (
        "file",
        "local",
        "memory",
        "zip",
        "tar",
        "simplecache",
        "dir",
        "reference",
        "nothing",
        "http",
        "data",
        "",
    )

    def drawn(chance: random.Random) -> Trial:
        if chance.random() < 0.5:
            inside = chance.choice(
                (str(good), str(folder / "none"), str(good / "xvstore.json"), "/dev/null", word(chance))
            )
            url = chance.choice(protocols) + chance.choice(("://", "://", "::", ":", "")) + inside
            if url.startswith("http"):
                url = "http://127.0.0.1:9/" + inside

            def look() -> str:
                store = Store(url)
                if not store.exists():
                    return "nothing there"
                store.status()
                return "a store"

            return Trial(f"store {url!r}", look, _named(url.rstrip("/"), url, *([inside] if inside.strip() else [])))

        owner, shard = word(chance), word(chance)
        target = folder / "written"

        def write() -> str:
            shutil.rmtree(target, ignore_errors=True)
            store = Store(target)
            row = {"class_idx": 3, "class_name": word(chance) or "x"}
            store.write("classes", owner, shard, [row])
            (found,) = store.read("classes", owner, shard).to_dict("records")
            assert (found["dataset"], found["class_id"], found["class_name"]) == (owner, shard, row["class_name"])
            assert store.owners_of("classes") == [owner]
            assert store.classes_of("classes", owner) == [shard]
            assert sorted(path.name for path in target.iterdir()) == ["parts", "xvstore.json"]
            return "written and read"

        return Trial(f"owner {owner!r}, class {shard!r}", write, _named(owner, shard, "classes"))

    return drawn


def _dotted(settings: Any, path: str = "") -> list[str]:
    """Return the names of all parameters, groups as well."""
    found = []
    for each in fields(settings):
        found.append(path + each.name)
        value = getattr(settings, each.name)
        found += _dotted(value, f"{path}{each.name}.") if is_dataclass(value) else []
    return found


def parameters(_folder: Path) -> Callable[[random.Random], Trial]:
    """Draw parameters of every family and analysis; what is taken comes back the same from its own words."""
    types = {name: pipelines[name].settings for name in pipelines}
    names = {name: _dotted(types[name]()) for name in types}

    def drawn(chance: random.Random) -> Trial:
        method = chance.choice(sorted(types))
        changes = {}
        for _ in range(chance.choice((1, 1, 2, 3))):
            name = chance.choice(names[method])
            if chance.random() < 0.1:
                name = chance.choice((name + ".x", name.upper(), word(chance), name + ".", "." + name))
            others = (None, True, 3, 2.5, float("nan"), 10**30, [], [1, "a"], {}, b"x", object, -0.0)
            changes[name] = word(chance) if chance.random() < 0.7 else chance.choice(others)

        def do() -> str:
            settings = replaced(types[method](), changes)
            flat = dict(_leaves(as_dict(settings)))
            assert replaced(types[method](), flat) == settings
            texts = {name: _text(value) for name, value in flat.items() if not isinstance(value, str) or value.strip()}
            assert replaced(settings, {name: text for name, text in texts.items() if text}) == settings
            return "taken"

        return Trial(f"{method}: {changes!r}", do, _named(*(name.partition(".")[0] for name in changes), *changes))

    return drawn


def _leaves(values: Mapping[str, Any], path: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _json(chance: random.Random, depth: int = 0) -> Any:
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: word(chance),
        lambda: chance.choice((None, True, 0, -1, 3, 10**40, 1e308, float("nan"), 0.5)),
        lambda: [_json(chance, depth + 1) for _ in range(chance.randint(0, 2))],
        lambda: {word(chance): _json(chance, depth + 1) for _ in range(chance.randint(0, 2))},
    )
    return chance.choice(kinds[: 2 if depth > 2 else 4])()


def requests(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw requests as a form or a client sends them, and flags as they are typed."""
    types = {**{name: command.request for name, command in every().items()}, "analyse": AnalyseRequest}
    good = {"models": ["partbirds_narrow@random"], "dataset": "partbirds?images=2", "store": str(folder / "none")}

    def drawn(chance: random.Random) -> Trial:
        name = chance.choice(sorted(types))
        if chance.random() < 0.5:
            return of_form(chance, name)
        return of_flags(chance, name if name != "analyse" else "summarise")

    def of_form(chance: random.Random, name: str) -> Trial:
        filled: dict[Any, Any] = {**good, **({"settings": {"analysis": "accuracy"}} if name == "analyse" else {})}
        known = list(types[name].model_fields)
        for _ in range(chance.randint(1, 3)):
            key = chance.choice(known) if chance.random() < 0.9 else word(chance)
            filled[key] = _json(chance)
            if key == "settings" and chance.random() < 0.8:
                group = chance.choice(sorted(pipelines))
                inside = chance.choice([each.name for each in fields(pipelines[group].settings)])
                filled[key] = (
                    {"analysis": group, inside: _json(chance)} if name == "analyse" else {inside: _json(chance)}
                )
        if chance.random() < 0.1:
            filled.pop(chance.choice(sorted(map(str, filled))), None)

        def do() -> str:
            for spec in types[name].model_validate(filled).specs():
                check_names(spec.model)
                open_dataset(spec.dataset)
            return "taken"

        return Trial(f"{name}: {filled!r}"[:1000], do, allowed=(XvError, ValidationError))

    def of_flags(chance: random.Random, name: str) -> Trial:
        second = ["partbirds_wide@random"] if name == "compare" else []
        given: dict[str, Any] = {
            "model": [*good["models"], *second],
            "dataset": good["dataset"],
            "store": good["store"],
        }
        typed = {
            "classes": lambda: word(chance),
            "settings": lambda: [
                chance.choice((word(chance), f"{word(chance)}={word(chance)}", f"max_images={word(chance)}"))
            ],
            "class_map": lambda: [f"{word(chance)}={word(chance)}" if chance.random() < 0.8 else word(chance)],
            "device": lambda: word(chance),
            "shard": lambda: chance.choice((word(chance), f"{word(chance)}/{word(chance)}")),
            "dataset": lambda: f"partbirds?images={word(chance)}",
            "model": lambda: [f"partbirds_narrow@random?seed={word(chance)}", *second],
            "pool": lambda: word(chance),
            "ray_address": lambda: word(chance),
            "batch_size": lambda: chance.choice((1, 16, 10**9)),
            "at_once": lambda: chance.choice((1, 200)),
        }
        changed = chance.sample(sorted(typed), chance.randint(1, 3))
        given |= {each: typed[each]() for each in changed}
        said = [
            str(part) for each in changed for part in (given[each] if isinstance(given[each], list) else [given[each]])
        ]

        def do() -> str:
            flags = ClassFlags(**given)
            flags.check()
            flags.fill(types[name]).specs()
            return "flags taken"

        pieces = [piece for text in said for piece in (text, *re.split("[=/,?&.]", text), *text.split("="))]
        return Trial(f"{name} flags: {given!r}"[:1000], do, _named(*(piece.strip() for piece in pieces), *pieces))

    return drawn
