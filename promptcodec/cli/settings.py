"""Settings as options: names, types and defaults from a dataclass, help from a table."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def spread_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is a dataclass by one option for each field.

    Options are the fields of `Annotated[Settings, TABLE]` in TABLE. An entry is a `typer.Option`,
    or an `Annotated` type with one if typer does not support the type of the field. Without a table
    the fields themselves are `Annotated`. Lists become tuples.
    """
    kinds: dict[str, tuple[type, list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    signature = inspect.signature(command)
    for parameter in signature.parameters.values():
        kind, *tables = get_args(parameter.annotation) or (parameter.annotation,)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            parameters.append(parameter)
            continue
        hints = get_type_hints(kind, include_extras=True)
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        table = tables[0] if tables else {name: hints[name] for name in defaults}
        kinds[parameter.name] = kind, list(table)
        for name, entry in table.items():
            typed = get_origin(entry) is Annotated
            annotation = entry if typed else Annotated[hints[name], entry]
            parameters.append(
                parameter.replace(name=name, default=defaults[name], annotation=annotation)
            )

    @wraps(command)
    def run(**values: Any) -> None:
        for parameter, (kind, names) in kinds.items():
            own = ((name, values.pop(name)) for name in names)
            values[parameter] = kind(
                **{name: tuple(v) if isinstance(v, list) else v for name, v in own}
            )
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
