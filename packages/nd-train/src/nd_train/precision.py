"""Which precisions keep the times of a batch."""

import lightning as L

_MIXED = {"16-true": "16-mixed", "transformer-engine-float16": "16-mixed"}
_STEPS = {
    "16-true": "float16, steps of up to 0.5 ms within a second",
    "bf16-true": "bfloat16, steps of up to 4 ms within a second",
    "transformer-engine": "bfloat16, steps of up to 4 ms within a second",
    "transformer-engine-float16": "float16, steps of up to 0.5 ms within a second",
}


def check_precision(trainer: L.Trainer) -> None:
    """Refuse a precision in which Lightning rounds every number of a batch, times among them.

    Spikes would move by milliseconds, and the times of outputs would no longer be those of their neighbours' windows.

    Raises:
        ValueError: it is one of these, with what to take instead.
    """
    precision = str(trainer.precision)
    if precision in _STEPS:
        raise ValueError(
            f"precision={precision!r} would round the times of spikes and outputs before the model sees them (to "
            f"{_STEPS[precision]}). Use {_MIXED.get(precision, 'bf16-mixed')!r}, which multiplies matrices in half "
            "precision and keeps times as they are"
        )
