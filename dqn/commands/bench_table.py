"""What ``bench`` prints: a figure a line, then what limits the loop and what would move it."""

from typing import Any

from dqn.report.progress import SMALL_PRESETS, duration

Figures = dict[str, Any]


def print_table(figures: Figures, update_period: int) -> None:
    """Print one figure a line and the conclusion."""
    width = max(map(len, figures))
    for name, value in figures.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        elif isinstance(value, float):
            value = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        elif isinstance(value, int):
            value = f"{value:,}"
        print(f"{name.replace('_', ' '):{width}}  {value}")
    print(f"\n{conclusion(figures, update_period)}")


def limits(figures: Figures, update_period: int) -> dict[str, float]:
    """Steps per second that each part of the loop would allow by itself."""
    return {
        "the emulators": figures["emulator_steps_per_second"],
        "acting": figures["acting_steps_per_second"],
        "the learner": figures["learner_updates_per_second"] * update_period,
    }


def conclusion(figures: Figures, update_period: int) -> str:
    """The time a usual run takes, the part of the loop that bounds it, and what would move that."""
    on_cpu = figures["device"] == "cpu"
    slowest, rate = min(limits(figures, update_period).items(), key=lambda limit: limit[1])
    gpu = "a GPU or " if on_cpu else ""
    advice = {
        "the emulators": "more cores for them (--env.threads)",
        "acting": f"{gpu}more environments at once (--num-envs)",
        "the learner": f"{gpu}a smaller network ({SMALL_PRESETS})" if on_cpu else
        "a smaller network, or fewer updates (--learner.update-period)",
    }  # fmt: skip
    hours = figures["hours_for_200_million_frames"]
    return (
        f"200 million frames, the usual length of a run, take {duration(3600 * hours)}. The loop "
        f"is bound by {slowest} at {rate:,.0f} steps/s, of which it reaches "
        f"{figures['share_of_slowest_limit']:.0%}; {advice[slowest]} would move that."
    )
