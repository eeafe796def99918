"""YAML as people write it: ``2e6`` is a whole number, a key stands once, and what is no YAML is
said in one sentence, with the file and the line."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

from dqn.config import ConfigError

PRESETS = Path(__file__).parents[2] / "configs"

NUMBER = re.compile(r"[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """YAML in which ``2e6`` is the whole number 2000000 and ``6.25e-5`` a number at all, and in
    which no key may stand twice and nothing stands for something else: a few lines of aliases of
    aliases are gigabytes, once they are printed."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias has no place in it", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key at all, as will be said
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} stands there twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "!number", re.compile(f"^(?:{NUMBER.pattern})$"), list("-+0123456789")
)
_Loader.add_constructor("!number", lambda _, node: number(str(node.value)))


def number(text: str) -> int | float:
    """``2e6`` is whole, ``6.25e-5`` is not."""
    value = float(text.replace("_", ""))
    return int(value) if value.is_integer() else value


def load_yaml(text: str) -> Any:
    """What a text of YAML says.

    Raises:
        yaml.YAMLError: nothing that it could.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader with one more number
    except (ValueError, RecursionError) as error:  # a date with a 13th month, a thousand brackets
        raise yaml.MarkedYAMLError(problem=" ".join(str(error).split())) from None
    except (AttributeError, LookupError, TypeError):  # !!timestamp x, !!bool x
        raise yaml.MarkedYAMLError(problem="a value does not fit its tag") from None


def load_yaml_file(file: str) -> dict[Any, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: it cannot be read, is no YAML or holds no mapping; with file and line.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        tree = load_yaml(text)
    except FileNotFoundError:
        known = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
        advice = f"in {PRESETS.name}/ there are {', '.join(known)}"
        if near := difflib.get_close_matches(Path(file).stem, known, n=1):
            here = Path.cwd() == PRESETS.parent
            path = known[near[0]]
            advice = f"did you mean {path.relative_to(PRESETS.parent) if here else path}?"
        raise ConfigError(f"there is no file {file}; {advice}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:  # or a name that no file can have
        raise ConfigError(f"{file} is no text in UTF-8, so no YAML") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise ConfigError(f"{file}{line} is no YAML: {reason}") from None
    if tree is None:
        raise ConfigError(f"{file} is empty; it should hold options, such as seed: 1")
    if not isinstance(tree, dict):
        kind = "list" if isinstance(tree, list) else "single value"
        raise ConfigError(f"{file} holds a {kind}, not a mapping of options, such as seed: 1")
    return tree
