"""The seven subsets of validation and test: held out within sequences (time), between them (persons), both or either.

B sequences, T steps, K outcomes.
"""

from torch import Tensor

from nd_train.longitudinal.batch import BatchMasks

ZONES = ("in_time", "out_of_time")

SUBSETS: dict[str, tuple[tuple[bool, str], ...]] = {
    "ws_wt": ((False, "in_time"),),
    "valset": ((False, "out_of_time"), (True, "in_time"), (True, "out_of_time")),
    "ws_oots": ((False, "out_of_time"),),
    "wt_ooss": ((True, "in_time"),),
    "oots_ooss": ((True, "out_of_time"),),
    "oots": ((False, "out_of_time"), (True, "out_of_time")),
    "ooss": ((True, "in_time"), (True, "out_of_time")),
}
"""Each subset's parts: whether the sequence is held out, and in which zone of its time the step lies.

``ws_wt`` within sequence and time, ``valset`` held out in either way, ``ws_oots`` out of time in known sequences,
``wt_ooss`` known time of held-out sequences, ``oots_ooss`` held out in both ways, ``oots`` and ``ooss`` in one.
"""

SUBSET_WORDS = {
    "ws_wt": "seen in training",
    "valset": "held out in either way",
    "ws_oots": "out of time, known sequences",
    "wt_ooss": "in time, new sequences",
    "oots_ooss": "out of time, new sequences",
    "oots": "out of time",
    "ooss": "new sequences",
}
"""What tables call them."""


def subset_masks(masks: BatchMasks) -> dict[str, Tensor]:
    """The observed outcomes of each subset, (B, T, K) bool; one without any is all False."""
    zones = {
        "in_time": ~masks.out_of_time.unsqueeze(-1),
        "out_of_time": masks.out_of_time.unsqueeze(-1),
    }
    held_out = masks.out_of_sequence.view(-1, 1, 1)
    result = {}
    for name, parts in SUBSETS.items():
        inside = held_out & ~held_out
        for out_of_sequence, zone in parts:
            inside = inside | ((held_out if out_of_sequence else ~held_out) & zones[zone])
        result[name] = masks.observed & inside
    return result
