"""One check of values for all that a user gives: parameters of a stage, options of a plug-in.

In: a type (with ``Annotated`` ranges, ``Literal`` choices) and a plain value. Out: the value as
that type, checked by pydantic; what is wrong is told in this package's words.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root

RULES = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
EXPECTED = {
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "a word",
    "dict_type": "`name: value` pairs",
    "list_type": "a list",
    "tuple_type": "a list",
    "none_required": "nothing",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "value_error": "{error}",
}
"""pydantic's type of an error -> what was expected, with the error's context filled in."""

Share = Annotated[float, Ge(0), Le(1)]
"""A type: from 0 to 1."""
Amount = Annotated[float, Ge(0)]
"""A type: any number that is not negative."""
Positive = Annotated[float, Gt(0)]
"""A type: any number above 0."""
Number = Annotated[int, Ge(0)]
"""A type: a whole number that is not negative."""
Count = Annotated[int, Ge(1)]
"""A type: a whole number of at least 1."""


def _whole_above_one(size: float) -> float:
    if not (0 < size < 1 or (size >= 1 and size == int(size))):
        raise ValueError("whole pixels, or a share of the image's side between 0 and 1")
    return size


Size = Annotated[float, AfterValidator(_whole_above_one)]
"""A type: pixels when a whole number, share of the image's shorter side below 1."""


def checked(kind: Any, value: Any, place: str) -> Any:
    """Return a value as the type ``kind``; numbers may come as text, as YAML reads ``1e-5``.

    place: file and ``name=value``, for the message. Errors: ConfigError: what was expected.
    """
    try:
        return _adapter(kind).validate_python(_prepared(kind, value))
    except ValidationError as error:
        expected = dict.fromkeys(_words(dict(one)) for one in error.errors(include_url=False))
        raise ConfigError(f"{place}: expected {' or '.join(expected)}") from error


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    return TypeAdapter(kind, config=RULES)


def _words(one: dict[str, Any]) -> str:
    if one["type"] == "literal_error":
        return "one of " + one["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    if one["type"] == "string_type" and "[key]" in one["loc"]:
        return f"a name in place of {one['input']!r}"
    words = EXPECTED.get(one["type"])
    return words.format(**one.get("ctx", {})) if words else one["msg"]


def _prepared(kind: Any, value: Any) -> Any:
    """A number written as text as a number, and a list as a tuple, where that is asked for."""
    kinds = _leaves(kind)
    if isinstance(value, str) and kinds & {int, float} and str not in kinds:
        try:
            value = int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
        except ValueError:
            return value
    if isinstance(value, float) and int in kinds and float not in kinds and value.is_integer():
        return int(value)
    return tuple(value) if isinstance(value, list) and tuple in kinds else value


def _leaves(kind: Any) -> set[Any]:
    """The plain types of ``Annotated``, unions and containers."""
    if get_origin(kind) is Annotated:
        return _leaves(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return set().union(*map(_leaves, get_args(kind)))
    return {get_origin(kind) or kind}


def nearest(name: object, known: Iterable[str]) -> str:
    """Return `` (did you mean 'lr'?)`` for a name that is close to a known one, else nothing."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.65)
    return f" (did you mean {near[0]!r}?)" if near else ""


def source(function: Callable[..., Any]) -> str:
    """Return where a function is defined, ``plugins/mine.py:12``, or its name."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return getattr(function, "__name__", repr(function))
    path = Path(code.co_filename)
    above = next((p for p in (root(), Path(__file__).parents[2]) if path.is_relative_to(p)), None)
    return f"{path.relative_to(above) if above else path}:{code.co_firstlineno}"


@cache
def _options(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only options of a plug-in's function, each with its type."""
    hints = get_type_hints(function, include_extras=True)
    named = inspect.signature(function).parameters.values()
    return {p.name: hints.get(p.name, Any) for p in named if p.kind is p.KEYWORD_ONLY}


def check_options(
    function: Callable[..., Any], options: Mapping[str, Any], *, what: str
) -> dict[str, Any]:
    """Return the options of a trigger or a defence as the types of its keyword-only parameters.

    what: its kind and name, for the message. Errors: ConfigError for an unknown option, another
    type, a value out of its range.
    """
    known = _options(function)
    for name in options:
        if name not in known:
            takes = ", ".join(known) or "none"
            near = nearest(name, known)
            raise ConfigError(f"{what}: no option {name!r}{near}. It takes: {takes}")
    return {n: checked(known[n], v, f"{what}: {n}={v!r}") for n, v in options.items()}


def register(
    table: dict[str, Any], name: str, function: Callable[..., Any], *, what: str, takes: str
) -> None:
    """Enter a trigger or a defence into its table, by name.

    takes: its positional parameters, such as "images, draws"; all others are options, with
    defaults, behind a ``*``. Errors: ConfigError, with file and line, for another signature, a
    default that does not fit its type, a name that is taken or cannot name a folder.
    """
    place = f"{source(function)}: {what} {name!r}"
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ConfigError(f"{place}: expected a name of letters, digits, _ and -")
    if (other := table.get(name)) is not None:
        same = other.__module__ == function.__module__
        again = other.__globals__ is function.__globals__ and function.__module__ != "__main__"
        if not same or again:
            raise ConfigError(f"{place} is there already: {source(other)}")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = parameters[len(positional) :]
    if len(positional) != takes.count(",") + 1 or any(
        p.kind is not p.KEYWORD_ONLY or p.default is p.empty for p in rest
    ):
        raise ConfigError(f"{place}: expected ({takes}, *, option=default, ...)")
    try:
        known = _options(function)
        for kind in known.values():
            _adapter(kind)
    except (NameError, TypeError, PydanticUserError) as error:
        raise ConfigError(f"{place}: a type that cannot be checked: {error}") from error
    for p in rest:
        checked(known[p.name], p.default, f"{place}: default {p.name}={p.default!r}")
    table[name] = function
