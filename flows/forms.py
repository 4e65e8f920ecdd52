"""Forms: settings of the library as pydantic models, so that Prefect shows typed fields and refuses nonsense."""

import dataclasses
import typing
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from xvcore.parameters import as_dict, replaced


def form(settings_type: type, name: str | None = None, defaults: Any = None) -> type[BaseModel]:
    """Return a pydantic model with the fields, defaults, bounds, choices and descriptions of a settings dataclass."""
    hints = typing.get_type_hints(settings_type)
    defaults = settings_type() if defaults is None else defaults
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(settings_type):
        hint, default = hints[field.name], getattr(defaults, field.name)
        description = field.metadata.get("description")
        if dataclasses.is_dataclass(default):
            title = field.name.replace("_", " ").title()  # as pydantic makes it for plain fields
            usual: Any = type(default)
            is_usual = default == usual()
            inner = form(
                type(default), f"{type(default).__name__ if is_usual else title.replace(' ', '')}Form", default
            )
            fields[field.name] = (inner, Field(default_factory=inner, title=title, description=description))
            continue
        bounds = {key: field.metadata[key] for key in ("ge", "le") if field.metadata.get(key) is not None}
        if typing.get_origin(hint) is tuple:
            bounds = {}  # bounds hold for each entry; the library checks them
        fields[field.name] = (hint, Field(default=default, description=description, **bounds))
    summary = (settings_type.__doc__ or "").strip().splitlines()[0]
    return create_model(
        name or f"{settings_type.__name__}Form",
        __config__=ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order),
        __doc__=summary,
        **fields,
    )


def in_order(schema: dict[str, Any]) -> None:
    """Give the fields of a form their places: PostgreSQL forgets their order, and Prefect goes by these."""
    for position, each in enumerate(schema.get("properties", {}).values()):
        each["position"] = position


def settings_of(filled: BaseModel, settings_type: type, *, without: Collection[str] = ()) -> Any:
    """Return the settings that a filled form stands for, but for some fields; the library checks them once more."""
    return replaced(settings_type(), dotted("", filled.model_dump(exclude=set(without))))


def filled_from(settings: Any, form_type: type[BaseModel]) -> BaseModel:
    """Return the form filled with given settings."""
    return form_type.model_validate(as_dict(settings))


def dotted(path: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values by dotted names, as errors call them: ``{"mask.steps": 100}``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= dotted(f"{path}{name}.", value) if isinstance(value, dict) else {f"{path}{name}": value}
    return found
