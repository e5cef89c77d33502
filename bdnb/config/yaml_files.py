"""A YAML file of ``name: value`` lines: nothing in it is run, nothing is lost quietly."""

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from bdnb.runtime.errors import ConfigError


def read(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file.

    Errors: ConfigError, with the line, for what is not YAML, a name given twice or that is none, a
    value that contains itself.
    """
    if not path.is_file():
        near = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"{path}: no such file; {path.parent} has {', '.join(near) or 'none'}")
    data = path.read_bytes()
    try:
        values = _parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {number}: not UTF-8 text: save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not YAML that can be read: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).splitlines()[0]
        raise ConfigError(f"{path}: not YAML that can be read: {said}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected lines of `name: value`, found {type(values).__name__}")
    return deepcopy(values)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Any:
    """Planning asks for the same few files thousands of times."""
    node = yaml.compose(text, yaml.SafeLoader)
    if node is None:
        return None
    _check(node, (), set())
    return SafeConstructor().construct_document(node)


def _check(node: yaml.Node, above: tuple[yaml.Node, ...], done: set[int]) -> None:
    """Refuse what YAML allows and no parameter file means. Errors: yaml.MarkedYAMLError."""
    if node in above:
        raise _refused(node, "a value that contains itself")
    if id(node) in done or isinstance(node, yaml.ScalarNode):
        return
    inside = node.value
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise _refused(key, f"expected a name before the colon, found {key.value!r:.40}")
            if key.value in lines:
                raise _refused(key, f"{key.value!r} is there already in line {lines[key.value]}")
            lines[key.value] = key.start_mark.line + 1
        inside = [value for _, value in node.value]
    for one in inside:
        _check(one, (*above, node), done)
    done.add(id(node))


def _refused(node: yaml.Node, why: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=node.start_mark)
