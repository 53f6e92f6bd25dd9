"""Draws the picture of docs/distributed.md in which ranks add up their numbers round a ring.

    python docs/ring_picture.py

It does what is drawn: each piece knows whose numbers are in it, and the ring's rules are applied to them. Wants matplotlib.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

HERE = Path(__file__).resolve().parent
RANKS = 4
COLORS = ["#d9480f", "#1c7ed6", "#37b24d", "#ae3ec9"]  # of each rank's numbers
GREY = "#808080"


def states():
    """What every rank holds at the start and after each round, as sets of ranks by piece; and which piece each sends next."""
    held = [[{rank} for _ in range(RANKS)] for rank in range(RANKS)]
    for step in range(2 * (RANKS - 1) + 1):
        moving = [(rank - step) % RANKS for rank in range(RANKS)] if step < 2 * (RANKS - 1) else []
        yield [[set(piece) for piece in pieces] for pieces in held], moving
        sent = [set(held[rank][piece]) for rank, piece in enumerate(moving)]
        for rank, piece in enumerate(moving):
            there = held[(rank + 1) % RANKS]
            there[piece] = there[piece] | sent[rank] if step < RANKS - 1 else sent[rank]
    assert all(piece == {*range(RANKS)} for pieces in held for piece in pieces), "every piece is whole everywhere"


def draw_state(axis, held, moving, title):
    """Ranks side by side, pieces below each other; a bar for each rank whose numbers are in it; arrows to where it goes."""
    for rank, pieces in enumerate(held):
        for piece, whose in enumerate(pieces):
            x, y = 1.6 * rank, -piece
            whole = len(whose) == RANKS
            axis.add_patch(Rectangle((x, y), 1, 0.8, facecolor="none", edgecolor=GREY, linewidth=2 if whole else 0.7))
            for who in whose:
                axis.add_patch(Rectangle((x + who / RANKS, y), 1 / RANKS, 0.8, color=COLORS[who], linewidth=0))
    for rank, piece in enumerate(moving):
        y = 0.4 - piece
        start, end = (1.6 * rank + 1.02, y), (1.6 * rank + 1.58, y)
        if rank == RANKS - 1:  # round the back, to rank 0
            axis.annotate("", (start[0] + 0.5, y), start, arrowprops={"arrowstyle": "-", "color": GREY, "linestyle": ":"})
            start, end = (-0.55, y), (-0.02, y)
        axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=GREY))
    for rank in range(RANKS):
        axis.text(1.6 * rank + 0.5, 1.0, f"rank {rank}", ha="center", fontsize=7, color=GREY)
    for piece in range(RANKS):
        axis.text(-0.75, 0.4 - piece, "abcd"[piece], ha="center", va="center", fontsize=8, color=GREY)
    axis.set(xlim=(-1, 1.6 * RANKS + 0.2), ylim=(0.1 - RANKS, 1.5), aspect="equal")
    axis.set_title(title, fontsize=9, color=GREY)
    axis.axis("off")


def draw_ring(axis):
    """The ranks in a circle, each with an arrow to the next."""
    spots = [(-1, 1), (1, 1), (1, -1), (-1, -1)]
    for rank, ((x, y), (to_x, to_y)) in enumerate(zip(spots, spots[1:] + spots[:1])):
        axis.add_patch(Rectangle((x - 0.4, y - 0.4), 0.8, 0.8, color=COLORS[rank], linewidth=0))
        axis.text(x, y, str(rank), ha="center", va="center", color="white", fontsize=10)
        dx, dy = (to_x - x) / 2, (to_y - y) / 2
        ends = (x + 0.5 * dx, y + 0.5 * dy), (to_x - 0.5 * dx, to_y - 0.5 * dy)
        axis.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=12, color=GREY))
    axis.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    axis.set_title("who sends to whom", fontsize=9, color=GREY)
    axis.axis("off")


def main():
    plt.rcParams |= {"svg.hashsalt": "ring", "svg.fonttype": "none"}  # the same file each time; letters as letters
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.6))
    titles = ["start", *(f"after round {step}" for step in range(1, 2 * RANKS - 1))]
    titles[RANKS - 1] += ": a whole one each"
    titles[-1] += ": all whole"
    places = [*axes[0], *axes[1, 1:]]
    for axis, title, (held, moving) in zip(places, titles, states(), strict=True):
        draw_state(axis, held, moving, title)
    draw_ring(axes[1, 0])
    figure.tight_layout()
    figure.savefig(HERE / "_static" / "ring.svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
