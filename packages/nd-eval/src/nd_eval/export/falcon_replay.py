"""A decoder, as FALCON's evaluator drives one, that gives predictions made before.

Shape legend: ``B`` files served at once, ``T`` bins, ``D`` dimensions of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FalconReplay:
    """Answers bin after bin with the rows of arrays; has the methods of ``falcon_challenge.interface.BCIDecoder``.

    The latency that the evaluator measures with it says nothing about the model.

    Args:
        arrays: Predictions by data set, (T, D) each.
        hash_dataset: ``FalconConfig.hash_dataset``, which tells the data set of a file.
        batch_size: How many files the evaluator serves at once.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[np.float32]], hash_dataset: Callable[[Path], str], *, batch_size: int = 1
    ) -> None:
        self._arrays = arrays
        self._hash_dataset = hash_dataset
        self._rows: list[NDArray[np.float32]] = []
        self._bin = 0
        self.set_batch_size(batch_size)

    def set_batch_size(self, batch_size: int) -> None:
        """Take as many files at once."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more; found {batch_size}")
        self.batch_size = batch_size

    def reset(self, dataset_tags: Sequence[str | Path] = ()) -> None:
        """Start over with these files.

        Raises:
            KeyError: there are no predictions for a file.
        """
        names = [self._hash_dataset(Path(tag)) for tag in dataset_tags]
        unknown = [name for name in names if name not in self._arrays]
        if unknown:
            raise KeyError(f"no predictions for {', '.join(unknown)}; there are {', '.join(self._arrays)}")
        self._rows = [self._arrays[name] for name in names]
        self._bin = 0

    def predict(self, neural_observations: NDArray[np.generic]) -> NDArray[np.float32]:
        """The next bin's predictions, (B, D); 0 beyond the end of a file that is shorter than others in the batch."""
        import numpy as np

        if len(neural_observations) != len(self._rows):
            raise ValueError(
                f"predictions are open for {len(self._rows)} files, but {len(neural_observations)} were served"
            )
        step, self._bin = self._bin, self._bin + 1
        return np.stack([rows[step] if step < len(rows) else np.zeros_like(rows[0]) for rows in self._rows])

    def observe(self, neural_observations: NDArray[np.generic]) -> None:
        """Let a bin pass without a prediction."""
        self.predict(neural_observations)

    def on_done(self, dones: NDArray[np.generic]) -> None:
        """Trials end without consequence."""
