"""Time to choose the best 4 available places in a hall of 50,000 seats, at several fill levels.

Run it with `python bench/seating.py`; it takes a few seconds and needs no server. The hall has five sections of 200
rows with 50 seats. Seats are sold front to back, at random, or so that no four free seats are side by side. The goal
is 0.5 ms for each choice.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial

from portico.contracts.events import SectionPlan
from portico.services.seating.hall.choice import best_available
from portico.services.seating.hall.layout import Layout
from portico.services.seating.hall.places import Places, Selection

SECTIONS, ROWS, SEATS = 5, 200, 50
QUANTITY = 4
ROUNDS = 5
CHOICES = 100
GOAL = 0.5  # milliseconds
LEVELS = (0, 50, 95, 99)  # percent sold


def hall(sold: Iterable[int] = ()) -> Places:
    """Return a hall in which these seats are sold, counted from 0 at the front of the best section."""
    plans = [SectionPlan(name=str(number), rows=ROWS, seats_per_row=SEATS) for number in range(SECTIONS)]
    places = Places.empty(Layout.of(plans))
    indexes = list(places.layout.indexes())
    places.change(Selection(tuple(indexes[each] for each in sold)), "F", "S")
    return places


def halls() -> Iterable[tuple[str, Places]]:
    chance = random.Random(7)  # the same halls in each run
    total = SECTIONS * ROWS * SEATS
    for level in LEVELS:
        yield f"{level} % sold, front to back", hall(range(total * level // 100))
    for level in LEVELS[1:]:
        yield f"{level} % sold, at random", hall(chance.sample(range(total), total * level // 100))
    for free in (3, 2, 1):
        yield f"blocks of {free} only", hall(each for each in range(total) if each % SEATS % (free + 1) == free)
    yield (
        "blocks of 5 only, which leave a single seat",
        hall(each for each in range(total) if each % SEATS % 6 == 5 or each % SEATS > 47),
    )
    yield "a single seat in each row", hall(each for each in range(total) if each % SEATS != each // SEATS % SEATS)
    yield "four seats left, in separate rows", hall(set(range(total)) - {7, 9_060, 9_130, 9_999})


def first_choice(places: Places) -> Callable[[], object]:
    """Return a function that makes a choice without the memory of earlier choices."""
    fresh = Places.load(places.layout, places.dump())
    return lambda: best_available(fresh, QUANTITY)


def measured(prepare: Callable[[], Callable[[], object]]) -> float:
    """Return the lowest median time (ms) of several rounds. `prepare` returns the function that is measured."""
    rounds = []
    for _ in range(ROUNDS):
        times = []
        for _ in range(CHOICES):
            act = prepare()
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
        rounds.append(statistics.median(times) * 1000)
    return min(rounds)


def main() -> None:
    print(
        f"| best available {QUANTITY} of {SECTIONS * ROWS * SEATS:,} seats | side by side | ms | of the goal of {GOAL} ms |\n|---|---|---|---|"
    )
    for title, places in halls():
        found = best_available(places, QUANTITY)
        taken = measured(partial(first_choice, places))
        print(f"| {title} | {'yes' if found.is_adjacent else 'no'} | {taken:.3f} | {taken / GOAL:.2f} |")
    places = hall()
    stored = places.dump()
    print(
        f"\nThe states load in {measured(lambda: partial(Places.load, places.layout, stored)):.3f} ms, and are stored as {len(stored):,} bytes."
    )


if __name__ == "__main__":
    main()
