"""Numbers as a reader wants them: as many digits as say something, a true minus sign, units."""

import math


def number_text(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits; a dash for none.

    >>> number_text(0.84217), number_text(-12345.6), number_text(0.0000123), number_text(None)
    ('0.842', '−12,346', '1.23e−5', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size == 0:
        text = "0"
    elif size >= 10 ** (digits - 1):
        text = f"{value:,.0f}"
    elif size >= 1e-3:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}" if size >= 1 else f"{value:.{digits}f}"
    else:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def count_text(value: float | None) -> str:
    """A count, with all its digits.

    >>> count_text(2743958), count_text(None)
    ('2,743,958', '–')
    """
    return "–" if value is None else f"{value:,.0f}"


def score_text(value: float | None) -> str:
    """A score: three decimals below a hundred.

    >>> score_text(0.84217), score_text(-0.5), score_text(231.4)
    ('0.842', '−0.500', '231')
    """
    if value is None or not math.isfinite(value) or abs(value) >= 100 or 0 < abs(value) < 1e-3:
        return number_text(value)
    return f"{value:.3f}".replace("-", "−")


def duration_text(seconds: float | None) -> str:
    """A length of time.

    >>> duration_text(42.5), duration_text(61), duration_text(5400), duration_text(None)
    ('42.5 s', '1 min 1 s', '1.50 h', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{number_text(seconds)} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{number_text(seconds / 3600)} h"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "recording"), plural(1200, "recording"), plural(2, "entry", "entries")
    ('1 recording', '1,200 recordings', '2 entries')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
