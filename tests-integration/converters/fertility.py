"""Births a woman by country and year (World Bank): the panel `statsmodels.datasets.fertility`."""

import re
from pathlib import Path

FOLDS = 5


def convert(path: Path) -> Path:
    """Write one line a country and year with an entry. `fold` shares the countries out in their order."""
    from statsmodels.datasets import fertility

    wide = fertility.load_pandas().data
    years = [column for column in wide.columns if re.fullmatch(r"\d{4}", str(column))]
    table = wide.melt("Country Code", years, "year", "births").dropna(subset=["births"])
    table = table.rename(columns={"Country Code": "country"}).sort_values(["country", "year"])
    table["year"] = table.year.astype(int)
    table["fold"] = table.groupby("country").ngroup() % FOLDS
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path
