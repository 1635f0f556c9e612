"""Tokenizers that can make a whole batch at once, and the windows that wait for them.

A tokenizer is the last transform of a dataset: it takes one window and returns a nested dictionary, and `collate` makes
a batch of many. A tokenizer may also offer a *batch form*: a method that takes a list of windows and returns what
`collate` would have made of their tokens, only sooner, because nothing is built for one window that is copied into the
batch afterwards. `Dataset` and `collate` then use it by themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from nd_data.transforms.compose import Compose

Method = TypeVar("Method", bound=Callable[..., Any])

_NAME_OF_BATCH_FORM = "_name_of_batch_form"


def has_batch_form(name: str) -> Callable[[Method], Method]:
    """Say of a method that tokenizes one window which method of its object makes a batch of many.

    The other method takes a list of windows and returns ``collate([tokenize(window) for window in windows])``, or None
    where it has no quick way to make it. A subclass with a tokenizer of its own is not affected: that one has no batch
    form unless it says so.

    Args:
        name: The other method's name.

    Example:
        >>> class Counter:
        ...     @has_batch_form("tokenize_batch")
        ...     def tokenize(self, window): return len(window)
        ...     def tokenize_batch(self, windows): return torch.tensor([len(window) for window in windows])
    """

    def mark(method: Method) -> Method:
        setattr(method, _NAME_OF_BATCH_FORM, name)
        return method

    return mark


def split_off_tokenizer(transform: Any) -> tuple[Any, Any, Callable[[list[Any]], Any]] | None:
    """What comes before a tokenizer with a batch form, the tokenizer, and the batch form; None without one.

    Args:
        transform: A dataset's transform: a tokenizer, or `Compose` with one at its end.
    """
    before = None
    if type(transform) is Compose and transform.transforms:
        *others, transform = transform.transforms
        before = Compose(others) if others else None
    name = getattr(transform, _NAME_OF_BATCH_FORM, None)
    owner = getattr(transform, "__self__", None)
    return None if name is None or owner is None else (before, transform, getattr(owner, name))


class PendingWindows(Sequence[Any]):
    """Windows that are not tokenized yet: a sequence of their tokens, made one by one for those who look at them.

    Args:
        windows: The windows, ready for the tokenizer.
        tokenize: Makes the tokens of one.
        tokenize_batch: Its batch form.
    """

    def __init__(
        self, windows: list[Any], tokenize: Callable[[Any], Any], tokenize_batch: Callable[[list[Any]], Any]
    ) -> None:
        self._windows = windows
        self._tokenize = tokenize
        self._tokenize_batch = tokenize_batch
        self._tokens: list[Any] | None = None

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, item: Any) -> Any:
        return self.tokens()[item]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tokens())

    def tokens(self) -> list[Any]:
        """The tokens of all windows, the same objects every time."""
        if self._tokens is None:
            self._tokens = [self._tokenize(window) for window in self._windows]
        return self._tokens

    def batch(self) -> Any:
        """The batch in one go; None where that is not possible, or someone may have changed the tokens of a window."""
        return None if self._tokens is not None else self._tokenize_batch(self._windows)


__all__ = ["PendingWindows", "has_batch_form", "split_off_tokenizer"]
