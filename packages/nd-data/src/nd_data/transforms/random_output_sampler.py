"""Keep a random few of the times at which outputs are asked for."""

import numpy as np

from nd_data.data import Data
from nd_data.irregular_time_series import IrregularTimeSeries
from nd_data.random_seed import RandomGenerator
from nd_data.regular_time_series import RegularTimeSeries
from nd_data.transforms.random_stream import RandomStream


class RandomOutputSampler:
    """Keep a fixed number of samples of a time series, drawn without replacement, in order of time.

    A series with no more samples than that stays as it is. A regular series becomes an irregular one.

    Args:
        num_output_tokens: How many to keep.
        output_attribute: Path of the time series.
        generator: Where the seed is drawn from, once; see `RandomStream`.

    Raises:
        ValueError: the number is below 1, or, when called, the path leads to something else.
    """

    def __init__(
        self,
        num_output_tokens: int,
        output_attribute: str = "behavior",
        *,
        generator: RandomGenerator | None = None,
    ) -> None:
        if num_output_tokens < 1:
            raise ValueError(f"num_output_tokens must be at least 1, got {num_output_tokens}")
        self.num_output_tokens = num_output_tokens
        self.output_attribute = output_attribute
        self._random = RandomStream(generator)

    def __call__(self, data: Data) -> Data:
        """Thin out a time series of a window, in place."""
        series = data.get_nested_attribute(self.output_attribute)
        if not isinstance(series, (IrregularTimeSeries, RegularTimeSeries)):
            raise ValueError(f"{self.output_attribute!r} is a {type(series).__name__}, expected a time series")
        if len(series) <= self.num_output_tokens:
            return data
        if isinstance(series, RegularTimeSeries):
            series = series.to_irregular()
        mask = np.zeros(len(series), dtype=np.bool_)
        mask[self._random.numpy().permutation(len(series))[: self.num_output_tokens]] = True
        data.set_nested_attribute(self.output_attribute, series.select_by_mask(mask))
        return data
