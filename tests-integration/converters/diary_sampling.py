"""Ten mood questions a day over two spells of days, as a table (Bringmann et al. 2013, PLoS ONE 8:e60188, S4)."""

from pathlib import Path

import numpy as np
import pandas as pd

FILE = "pone.0060188.s004.txt"
OUTCOMES = {
    "opgewkt_": "cheerful",
    "onplplez": "pleasant",
    "pieker": "worry",
    "angstig_": "fearful",
    "somber__": "sad",
    "ontspann": "relaxed",
}
FOLDS = 5
BEEPS_A_DAY = 10


def convert(source: Path, path: Path) -> Path:
    """Write one line an answered beep: the person, the number of the answer, its six moods and when it was given.

    A step is an answer, so that the next step is the next answered beep. `fold` shares the persons out in their order.
    """
    raw = pd.read_csv(source / FILE, index_col=0).dropna(subset=["beepno"])
    answered = raw.dropna(subset=list(OUTCOMES), how="all").rename(columns=OUTCOMES | {"subjno": "person"})
    answered = answered.sort_values(["person", "st_period", "dayno", "beepno"])
    beep = (answered.dayno - 1) * BEEPS_A_DAY + answered.beepno - 1
    spell = [answered.person, answered.st_period]
    table = pd.DataFrame(
        {
            "person": answered.person,
            "answer": answered.groupby("person").cumcount(),
            **{name: answered[name] for name in OUTCOMES.values()},
            "beep_of_day": answered.beepno / BEEPS_A_DAY,
            "after_treatment": answered.st_period,
            # Beeps since the last answer of the same spell; 0 at its first.
            "beeps_since": np.log1p(beep.groupby(spell).diff().fillna(0.0)),
            "fold": answered.groupby("person").ngroup() % FOLDS,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path
