"""Scores and curves that others published of a game: their list, and how they are drawn."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dqn.envs.atari import FRAME_SKIP
from dqn.evaluation import scores
from dqn.web.report_parts import GRAY, SYMBOLS, Published, finite

DRAWN = {"random", "human", "curve:Dopamine DQN"}
"""What of the published is drawn unless the reader chooses otherwise."""
PEOPLE = "no sticky actions, up to 30 no-ops"


def published_rows(game: str, protocols: Sequence[str]) -> list[Published]:
    """What is published of the game, each with its protocol and how that differs from the runs'."""
    people = {"random": scores.random_score(game), "human": scores.human_score(game)}
    who = {"random": "random player", "human": "human"}
    rows = [
        Published(key, who[key], score, "", PEOPLE, _differs(PEOPLE, protocols),
                  key in DRAWN)
        for key, score in people.items()
        if score is not None
    ]  # fmt: skip
    for curve in scores.published_curves(game):
        key, frames = f"curve:{curve.agent}", f"{len(curve.returns)} million"
        differs = _differs(curve.protocol, protocols)
        rows.append(
            Published(key, f"{curve.agent}, curve", None, frames, curve.protocol, differs,
                      key in DRAWN)
        )  # fmt: skip
    for name, score in scores.published(game).items():
        agent, millions, protocol = scores.COLUMNS[name]
        differs = _differs(protocol, protocols)
        rows.append(Published(name, agent, score, f"{millions} million", protocol, differs, False))
    return rows


def _differs(theirs: str, protocols: Sequence[str]) -> str:
    """How a published protocol differs from those of the runs."""
    sticky, words = "sticky actions .25" in theirs, []
    if any(protocol.startswith("machado") != sticky for protocol in protocols):
        words.append("sticky actions" if sticky else "no sticky actions")
    words += [what for what in ("training return", "best snapshot") if what in theirs]
    if any("pictures" in protocol for protocol in protocols):
        words.append("84x84 pictures")
    return ", ".join(words)


def draw_published_curves(
    figure: go.Figure, game: str, reach: float, published: Sequence[Published]
) -> None:
    """Twice: as far as the runs are, and, for a button of the page, to their end."""
    drawn = {row.key: row.drawn for row in published}
    for index, curve in enumerate(scores.published_curves(game)):
        key = f"curve:{curve.agent}"
        steps = [million * 1_000_000 / FRAME_SKIP for million in range(1, len(curve.returns) + 1)]
        near = max(2, sum(step <= 1.2 * reach for step in steps))
        for part, end in (("near", near), ("far", len(steps))):
            figure.add_scatter(
                x=steps[:end], y=finite(curve.returns[:end]), mode="lines+markers",
                name=f"{curve.agent} (published)",
                line={"color": GRAY, "width": 1.5, "dash": ("dash", "dot", "dashdot")[index % 3]},
                marker={"symbol": f"{SYMBOLS[index]}-open", "size": 5, "maxdisplayed": 20},
                meta={"published": key, "part": part}, visible=drawn.get(key, False) and
                part == "near", hoverinfo="name+y",
            )  # fmt: skip


def draw_published_scores(figure: go.Figure, published: Sequence[Published]) -> None:
    """A line across the chart for each score."""
    for row in published:
        if row.value is not None:
            dash = {"random": "dot", "human": "dashdot"}.get(row.key, "dash")
            text = f"{row.who} {row.score}"
            figure.add_hline(
                y=row.value, name=row.key, visible=row.drawn,
                line={"color": GRAY, "width": 1, "dash": dash}, layer="below",
                label={
                    "text": text, "textposition": "end", "font": {"size": 11},
                    "yanchor": "bottom" if row.key == "random" else "top",
                },
            )  # fmt: skip
