"""Tokenizers with a batch form: used where nobody can tell the difference, and only there."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from nd_data import Dataset, DatasetIndex, collate, pad8
from nd_data.batch_form import PendingWindows, has_batch_form, split_off_tokenizer
from nd_data.samplers import RandomFixedWindowSampler
from nd_data.transforms import Compose, UnitDropout

WINDOWS = [DatasetIndex("alpha/s1", 1.0 * k, 1.0 * k + 1.0 + 0.25 * k) for k in range(6)]


class Counter:
    """Counts spikes; remembers how it was asked."""

    def __init__(self, *, declines=False):
        self.declines = declines
        self.asked = []

    @has_batch_form("tokenize_batch")
    def tokenize(self, window):
        self.asked.append("one")
        return {"times": pad8(window.spikes.timestamps), "start": window.absolute_start, "id": window.session.id}

    def tokenize_batch(self, windows):
        self.asked.append(len(windows))
        if self.declines:
            return None
        longest = -(-max(len(window.spikes) for window in windows) // 8) * 8
        times = np.zeros((len(windows), longest))
        for row, window in zip(times, windows, strict=True):
            row[: len(window.spikes)] = window.spikes.timestamps
        return {
            "times": torch.from_numpy(times),
            "start": torch.tensor([window.absolute_start for window in windows], dtype=torch.float64),
            "id": [window.session.id for window in windows],
        }


class OwnTokens(Counter):
    def tokenize(self, window):
        return {**super().tokenize(window), "more": 1}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key])
        else:
            assert value == other[key]


def test_a_loader_lets_the_tokenizer_make_the_whole_batch(root):
    counter = Counter()
    dataset = Dataset(root, transform=counter.tokenize)
    (batch,) = DataLoader(dataset, sampler=WINDOWS, batch_size=6, collate_fn=collate)
    assert counter.asked == [6]
    assert_same(batch, collate([dataset[index] for index in WINDOWS]))


def test_what_comes_before_the_tokenizer_is_done_window_by_window(root):
    seen = []

    def note(window):
        seen.append(window.absolute_start)
        return window

    counter = Counter()
    dataset = Dataset(root, transform=Compose([note, counter.tokenize]))
    batch = collate(dataset.__getitems__(WINDOWS))
    assert seen == [index.start for index in WINDOWS]
    assert counter.asked == [6]
    assert_same(batch, collate([dataset[index] for index in WINDOWS]))


def test_random_transforms_draw_the_same_for_a_window_in_a_batch(root):
    dataset = Dataset(root, split="train")
    sampler = RandomFixedWindowSampler(
        dataset.get_sampling_intervals(), 1.0, generator=torch.Generator().manual_seed(0)
    )
    windows = list(sampler)[:8]
    dropout = UnitDropout(min_units=1, mode_units=2, max_units=3, seed=4)
    dataset.transform = Compose([dropout, Counter().tokenize])
    assert_same(collate(dataset.__getitems__(windows)), collate([dataset[index] for index in windows]))


def test_whoever_looks_at_the_tokens_gets_them_and_may_change_them(root):
    counter = Counter()
    dataset = Dataset(root, transform=counter.tokenize)
    pending = dataset.__getitems__(WINDOWS)
    assert isinstance(pending, PendingWindows)
    assert len(pending) == 6
    for number, tokens in enumerate(pending):
        tokens["number"] = number
    assert pending[2]["number"] == 2
    assert [tokens["number"] for tokens in pending[1:3]] == [1, 2]
    batch = collate(pending)
    assert batch["number"].tolist() == [0, 1, 2, 3, 4, 5]
    assert counter.asked == ["one"] * 6


def test_a_collate_function_of_ones_own_sees_a_sequence_of_tokens(root):
    dataset = Dataset(root, transform=Counter().tokenize)
    loader = DataLoader(dataset, sampler=WINDOWS, batch_size=6, collate_fn=lambda batch: [one["id"] for one in batch])
    assert list(loader) == [["alpha/s1"] * 6]


def test_a_batch_form_may_decline(root):
    counter = Counter(declines=True)
    dataset = Dataset(root, transform=counter.tokenize)
    batch = collate(dataset.__getitems__(WINDOWS))
    assert counter.asked == [6] + ["one"] * 6
    assert_same(batch, collate([Counter().tokenize(Dataset(root)[index]) for index in WINDOWS]))


def test_a_subclass_with_its_own_tokenizer_has_no_batch_form(root):
    dataset = Dataset(root, transform=OwnTokens().tokenize)
    assert isinstance(dataset.__getitems__(WINDOWS), list)
    assert collate(dataset.__getitems__(WINDOWS))["more"].tolist() == [1] * 6


def test_a_dataset_with_its_own_items_is_asked_for_them(root):
    class Numbered(Dataset):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "start_again": index.start}

    counter = Counter()
    loader = DataLoader(Numbered(root, transform=counter.tokenize), sampler=WINDOWS, batch_size=6, collate_fn=collate)
    (batch,) = loader
    assert batch["start_again"].tolist() == batch["start"].tolist()
    assert counter.asked == ["one"] * 6


def test_a_subset_passes_the_windows_on(root):
    counter = Counter()
    subset = Subset(Dataset(root, transform=counter.tokenize), WINDOWS)
    (batch,) = DataLoader(subset, batch_size=6, collate_fn=collate)
    assert counter.asked == [6]
    assert batch["start"].tolist() == [index.start for index in WINDOWS]


def test_windows_that_leave_their_split_are_refused_before_any_is_tokenized(root):
    counter = Counter()
    dataset = Dataset(root, split="train", transform=counter.tokenize)
    with pytest.raises(ValueError, match="leaves the 'train' split"):
        dataset.__getitems__([*WINDOWS, DatasetIndex("alpha/s1", 59.5, 60.5)])
    with pytest.raises(TypeError, match="DatasetIndex"):
        dataset.__getitems__([WINDOWS[0], 3])
    assert counter.asked in ([], ["one"])


@pytest.mark.parametrize("transform", [None, len, Compose([]), Compose([len])])
def test_transforms_without_a_batch_form_are_left_alone(root, transform):
    assert split_off_tokenizer(transform) is None
    if transform is None:
        assert [sample.absolute_start for sample in Dataset(root).__getitems__(WINDOWS)] == [
            index.start for index in WINDOWS
        ]
