"""The options of a command, read off its class, and their ``--help``."""

import dataclasses
import shutil
import textwrap
from typing import Any, NamedTuple

from dqn.config.fields import hints, metavar, shown, text_metavar
from dqn.config.yaml_file import PRESETS

_NO_BREAK = "\N{NO-BREAK SPACE}"


class Option(NamedTuple):
    """One option of a command."""

    hint: Any
    default: Any
    meaning: str
    section: str


def options_of(kind: Any, prefix: str = "") -> dict[str, Option]:
    """Every option of a class by its name in YAML: ``replay.n_step``."""
    options: dict[str, Option] = {}
    section = "Options" if hasattr(kind, "usage") else kind.__doc__
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default):
            options |= options_of(type(field.default), prefix_of(prefix, field.name))
        elif field.name != "run":
            hint, meaning = (
                hints(kind)[field.name],
                kind.__pydantic_fields__[field.name].description,
            )
            options[prefix + field.name] = Option(hint, field.default, meaning, section)
    return options


def help_text(kind: Any) -> str:
    """What ``--help`` prints."""
    width = min(shutil.get_terminal_size().columns, 100)
    paragraph = textwrap.TextWrapper(width)
    meaning = textwrap.TextWrapper(width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines = [f"usage: {kind.usage}", "", paragraph.fill(" ".join(kind.__doc__.split()))]
    options = options_of(kind)
    if "config" in options:
        presets = ", ".join(path.stem for path in sorted(PRESETS.glob("*.yaml")))
        lines += ["", paragraph.fill(f"Presets in {PRESETS.name}/: {presets}.")]
    section = ""
    for name, option in options.items():
        if option.section != section:
            section = option.section
            lines += ["", f"{section}:"]
        unset = not option.default and text_metavar(option.hint)
        default = "" if unset else f" (default{_NO_BREAK}{shown(option.default)})"
        lines.append(f"  {as_typed(name)} {metavar(option.hint)}")
        lines.append(meaning.fill(option.meaning + default).replace(_NO_BREAK, " "))
    return "\n".join(lines)


def prefix_of(prefix: str, field: str) -> str:
    """Prefix of a section's settings; ``settings`` is the Config among a command's options."""
    return "" if field == "settings" else f"{prefix}{field}."


def as_typed(name: str) -> str:
    """A name as on the command line: ``--replay.n-step``."""
    return f"--{name.replace('_', '-')}"
