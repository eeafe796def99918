"""Whatever a config.yaml contains, it is a config or refused in one sentence."""

from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.forgeries import FEW, anything, places

from dqn.config import Config, ConfigError
from dqn.config.yaml_file import as_yaml, load_config

TEXT = as_yaml(Config(game="CartPole-v1"))


def reads(text: str, folder: Path) -> None:
    """A config, or one sentence."""
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8", errors="replace", newline="")
    said = ""
    try:
        assert isinstance(load_config(file), Config)
    except ConfigError as error:
        said = str(error)
    assert len(said) < 20_000  # it may quote a name of 5,000 digits


snippets = st.sampled_from(
    [
        "!!python/object/apply:os.system [exit]", "&a [*a, *a]", "*a", "{? [a]: b}", "<<: {a: 1}",
        "? [a]\n: 1\n", "? {a: b}\n", "2024-13-45", "2024-01-01", "!!binary x", "!!set {a}", "0x_",
        "1:99:99", "1e99999", "9" * 5000, ".nan", "-.inf", "[" * 1500, "{" * 1500, "- " * 1500,
        "\t", "---\n", "...\n", "%YAML 9.9\n---\n", "!x y", "''", "'", '"\\x"', "|\n a", ">",
        "null", "~", "@x", "`x", "=", "\x00", "\ufeff", "é", "\ud800", "0o17", "0b1", "!!int x",
        "!!float x", "!!timestamp x", "!number x", "seed: 1\n", "\nreplay: 3\n",
        "\nenv: {threads: [1]}\n",
    ]
)  # fmt: skip


@FEW
@given(data=st.data())
def test_any_text_as_config(data, tmp_path):
    """A config with changes, or changes alone."""
    text = data.draw(st.sampled_from([TEXT, ""]))
    for _ in range(data.draw(st.integers(1, 5))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.integers(0, 8))
        text = text[:begin] + data.draw(snippets | st.text(max_size=20)) + text[end:]
    reads(text, tmp_path)


@FEW
@given(data=st.data())
def test_any_value_in_config(data, tmp_path):
    tree = yaml.safe_load(TEXT)
    *parents, key = data.draw(st.sampled_from(places(tree)))
    place = tree
    for parent in parents:
        place = place[parent]
    place[key] = data.draw(anything)
    reads(yaml.safe_dump(tree), tmp_path)
