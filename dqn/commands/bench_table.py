"""What ``bench`` prints: a figure a line, the parts of an iteration, the heaviest operations, then
what limits the loop and what would move it."""

import textwrap
from typing import Any

from dqn.config.words import counted
from dqn.report.progress import SMALL_PRESETS, duration

Figures = dict[str, Any]

COLUMNS = 79


def print_figures(figures: Figures) -> None:
    """Print one figure a line; tables are left out."""
    lines = {name.replace("_", " "): as_text(value) for name, value in figures.items()}
    lines = {name: text for name, text in lines.items() if text}
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        print(textwrap.fill(text, COLUMNS, initial_indent=f"{name:{width}}",
                            subsequent_indent=" " * width))  # fmt: skip


def as_text(value: Any) -> str:
    """A figure in words, or nothing if it is a table."""
    if isinstance(value, dict) and all(isinstance(part, str) for part in value.values()):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    if isinstance(value, dict | list):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_iteration(figures: Figures, updates: float) -> None:
    """Print where the time of an iteration of the loop goes, which makes so many updates."""
    parts = figures["iteration"]
    print(f"\n{'an iteration of the loop, ms':37}{'alone':>12}{'in the loop':>14}{'share':>10}")
    for part, times in parts.items():
        alone = times["alone_seconds"]
        alone = "-" if alone is None else f"{1000 * alone:,.3f}"
        print(f"{part:37}{alone:>12}{1000 * times['seconds']:>14,.3f}{times['share']:>10.1%}")
    total = 1000 * sum(times["seconds"] for times in parts.values())
    summary = f"{figures['num_envs']:,} steps, {updates:g} updates"
    print(f"{summary:49}{total:>14,.3f}{1:>10.1%}")


def print_profile(figures: Figures) -> None:
    """Print the heaviest operations of an update."""
    print(f"\n{'an update, its heaviest operations':47}{'ms':>10}{'share':>9}{'calls':>9}")
    if not figures["profile"]:
        print("none: torch.profiler sees no kernels on this machine")
    for row in figures["profile"]:
        name = row["operation"] if len(row["operation"]) <= 46 else row["operation"][:43] + "..."
        milliseconds, share = 1000 * row["seconds_per_update"], row["share"]
        print(f"{name:47}{milliseconds:>10,.3f}{share:>9.1%}{row['calls_per_update']:>9,.3g}")


def print_sentence(sentence: str) -> None:
    """Print it, wrapped, after a blank line."""
    print(f"\n{textwrap.fill(sentence, COLUMNS, break_on_hyphens=False)}")


def limits(figures: Figures, update_period: int) -> dict[str, float]:
    """Steps per second that each part of the loop would allow by itself."""
    return {
        "the emulators": figures["emulator_steps_per_second"],
        "acting": figures["acting_steps_per_second"],
        "the learner": figures["learner_updates_per_second"] * update_period,
    }


def conclusion(figures: Figures, update_period: int) -> str:
    """The time a whole run takes, the part of the loop that bounds it, and what would move that."""
    on_cpu = figures["device"] == "cpu"
    slowest, rate = min(limits(figures, update_period).items(), key=lambda limit: limit[1])
    gpu = "a GPU or " if on_cpu else ""
    advice = {
        "the emulators": "more cores for them (--env.threads)",
        "acting": f"{gpu}more environments at once (--num-envs)",
        "the learner": f"{gpu}a smaller network ({SMALL_PRESETS})" if on_cpu else
        "a smaller network, or fewer updates (--learner.update-period)",
    }  # fmt: skip
    steps, hours = figures["total_steps"], figures["hours_for_total_steps"]
    load, count = figures["load_before"], counted(figures["cores"], "core")
    busy = f" The load was {load:.1f} on {count} before: alone they are faster."
    return (
        f"A run of {steps:,} steps takes {duration(3600 * hours)}. The loop "
        f"is bound by {slowest} at {rate:,.0f} steps/s, of which it reaches "
        f"{figures['share_of_slowest_limit']:.0%}; {advice[slowest]} would move that."
        f"{busy if load > figures['cores'] / 2 else ''}"
    )
