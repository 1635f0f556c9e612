"""What a dataset puts before the ids of its recordings, to make them unique, where nobody asks for another prefix."""

from nd_data.data import Data


def default_unit_id_prefix_fn(data: Data) -> str:
    """``<brainset>/<session>/``, which makes unit ids unique over recordings."""
    return f"{data.brainset.id}/{data.session.id}/"


def default_session_id_prefix_fn(data: Data) -> str:
    """``<brainset>/``, which makes session ids unique over brainsets."""
    return f"{data.brainset.id}/"


def default_subject_id_prefix_fn(data: Data) -> str:
    """``<brainset>/``, which makes subject ids unique over brainsets."""
    return f"{data.brainset.id}/"


DEFAULT_PREFIX_FNS = (default_unit_id_prefix_fn, default_session_id_prefix_fn, default_subject_id_prefix_fn)
