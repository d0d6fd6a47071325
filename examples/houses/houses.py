"""Writes houses.csv: 240 made-up houses with numbers, categories, a truth value, gaps, and rows without a price.

Run ``python examples/houses/houses.py`` to make the file again; the same seed gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

ROWS = 240
SEED = 7
HEADER = ["house_id", "area", "rooms", "built", "district", "garden", "heating", "price"]
DISTRICTS = {"harbour": 62_000.0, "old town": 48_000.0, "hills": 30_000.0, "station": 0.0}
HEATINGS = {"heat pump": 21_000.0, "gas": 6_000.0, "oil": 0.0}


def rows(seed: int = SEED) -> list[list[str]]:
    """The houses, as cells; an empty cell is a missing value."""
    chance = random.Random(seed)
    made = []
    for number in range(ROWS):
        area = round(chance.uniform(45, 220), 1)
        rooms = max(1, round(area / 28 + chance.uniform(-1.2, 1.2)))
        built = chance.randint(1900, 2024)
        district, heating = chance.choice(list(DISTRICTS)), chance.choice(list(HEATINGS))
        garden = chance.random() < 0.4
        price = 1_900 * area + 6_000 * rooms + 450 * (built - 1900) + DISTRICTS[district] + HEATINGS[heating]
        price += 18_000 * garden + chance.gauss(0, 17_000)
        cells = [str(number + 1), str(area), str(rooms), str(built), district, str(garden).lower(), heating]
        for at, share in ((3, 0.06), (6, 0.08), (5, 0.05)):
            if chance.random() < share:
                cells[at] = ""
        made.append([*cells, "" if chance.random() < 0.02 else str(round(price / 500) * 500)])
    return made


def text(seed: int = SEED) -> str:
    """The file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([HEADER, *rows(seed)])
    return out.getvalue()


if __name__ == "__main__":
    Path(__file__).with_name("houses.csv").write_text(text(), encoding="utf-8")
