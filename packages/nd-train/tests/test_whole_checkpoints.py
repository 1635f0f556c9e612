"""Checkpoints are whole or absent, damage is noticed, and a run goes on from the newest that is whole."""

import os
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nd_train.checkpoints.atomic_checkpoint import AtomicCheckpointIO, remove_unfinished, unfinished_name
from nd_train.checkpoints.resumed_run import go_on_with_last_run, last_run
from nd_train.checkpoints.whole_checkpoints import damage, inspect, newest_whole_checkpoint


def state(step, **more):
    """What a run can be resumed from, as far as these tests need it."""
    weights = {"w": torch.arange(500.0) + step}
    return {
        "global_step": step,
        "state_dict": weights,
        "loops": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        **more,
    }


def save(path, step, *, age=0, **more):
    AtomicCheckpointIO().save_checkpoint(state(step, **more), path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_checkpoint_comes_back_as_it_was_and_nothing_else_is_left(tmp_path):
    path = save(tmp_path / "new" / "a.ckpt", 7)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    torch.testing.assert_close(loaded["state_dict"], state(7)["state_dict"], rtol=0, atol=0)
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_until_all_is_on_the_disk_the_old_checkpoint_stays(tmp_path, monkeypatch, moment):
    path = save(tmp_path / "a.ckpt", 1)

    class KilledError(BaseException):
        pass

    def die(*_):
        assert inspect(path).step == 1
        raise KilledError

    monkeypatch.setattr(*((os, "fsync", die) if moment == "fsync" else (Path, "replace", die)))
    with pytest.raises(KilledError):
        AtomicCheckpointIO().save_checkpoint(state(2), path)
    assert inspect(path).step == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_full_disk_is_an_error_that_says_so_and_leaves_the_old_checkpoint_whole(tmp_path):
    path = save(tmp_path / "a.ckpt", 1)
    # The system refuses files above a size, as it refuses those that the disk has no room for.
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(
            OSError, match=r"a\.ckpt could not be written .*What was there before is as it was: make room"
        ):
            AtomicCheckpointIO().save_checkpoint(state(2), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert inspect(path).step == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path):
    target = save(tmp_path / "best.ckpt", 1)
    link = tmp_path / "last.ckpt"
    link.symlink_to("best.ckpt")
    save(link, 2)
    assert (inspect(target).step, inspect(link).step) == (1, 2)


def test_unfinished_files_are_no_checkpoints_to_lightning_and_can_be_removed(tmp_path):
    name = unfinished_name(tmp_path / "hpc_ckpt_3.ckpt")
    assert "hpc_ckpt_" not in name.name
    assert name.suffix != ".ckpt"
    name.write_text("half")
    kept = save(tmp_path / "a.ckpt", 1)
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


@settings(deadline=None, max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_of_the_weights_is_noticed(tmp_path_factory, place, bit):
    path = save(tmp_path_factory.mktemp("bits") / "a.ckpt", 3)
    content = bytearray(path.read_bytes())
    weights = state(3)["state_dict"]["w"].numpy().tobytes()
    begin = content.index(weights)
    content[begin + int(place * len(weights))] ^= 1 << bit
    path.write_bytes(content)
    assert "is not what was written" in damage(path)


@pytest.mark.parametrize("length", [0, 1, 100, 1500, -1])
def test_a_file_that_was_cut_short_is_noticed_and_loading_it_is_an_error_that_says_what_to_do(tmp_path, length):
    path = save(tmp_path / "a.ckpt", 3)
    path.write_bytes(path.read_bytes()[:length])
    assert damage(path)
    with pytest.raises(ValueError, match=r"a\.ckpt is damaged: .*--ckpt_path last"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_the_newest_whole_checkpoint_is_the_one_of_the_most_steps_and_the_others_problems_are_told(tmp_path):
    save(tmp_path / "last.ckpt", 30)
    cut_short(tmp_path / "last.ckpt")
    save(tmp_path / "last-00000020.ckpt", 20)
    save(tmp_path / "best.ckpt", 25)
    weights = state(40)
    torch.save({"state_dict": weights["state_dict"], "global_step": 40}, tmp_path / "weights.ckpt")
    (tmp_path / "notes.txt").write_text("")
    found, unusable = newest_whole_checkpoint(tmp_path)
    assert (found.path.name, found.step) == ("best.ckpt", 25)
    assert {one.path.name: one.problem.split(",")[0] for one in unusable if "weights" in one.path.name} == {
        "weights.ckpt": "it holds no loops"
    }
    assert {one.path.name for one in unusable} == {"last.ckpt", "weights.ckpt"}


def test_links_to_one_checkpoint_are_one_and_a_link_to_nowhere_is_none(tmp_path):
    save(tmp_path / "best.ckpt", 1)
    (tmp_path / "last.ckpt").symlink_to("best.ckpt")
    (tmp_path / "gone.ckpt").symlink_to("deleted.ckpt")
    found, unusable = newest_whole_checkpoint(tmp_path)
    assert (found.path.resolve().name, unusable) == ("best.ckpt", [])


def version(root, number):
    return root / "lightning_logs" / f"version_{number}" / "checkpoints"


def test_the_last_run_is_the_one_that_was_last_written_to(tmp_path):
    save(version(tmp_path, 0) / "last.ckpt", 900, age=50)
    save(version(tmp_path, 1) / "last.ckpt", 10, age=5)
    version(tmp_path, 2).mkdir(parents=True)
    found = last_run(tmp_path)
    assert (found.checkpoint.step, found.version, found.folder) == (10, 1, version(tmp_path, 1))
    assert last_run(tmp_path / "elsewhere") is None


def test_damage_is_told_and_the_checkpoint_before_is_taken_but_never_another_run(tmp_path):
    save(version(tmp_path, 0) / "last.ckpt", 900, age=50)
    last, before = (save(version(tmp_path, 1) / name, step) for name, step in (("last.ckpt", 12), ("last-8.ckpt", 8)))
    cut_short(last)
    found = last_run(tmp_path)
    assert found.checkpoint.path == before
    assert f"{last} is passed over: it is no whole file" in found.statement()
    assert f"resuming from {before}, after 8 steps" in found.statement()
    cut_short(before)
    with pytest.raises(
        ValueError, match=r"no checkpoint in .*version_1.* can be resumed from \(last-8\.ckpt: .*; last"
    ):
        last_run(tmp_path)


def test_a_requeued_jobs_checkpoint_counts_where_it_is_the_newer_one(tmp_path):
    save(tmp_path / "hpc_ckpt_1.ckpt", 55, age=100)
    assert last_run(tmp_path).checkpoint.step == 55
    save(version(tmp_path, 0) / "last.ckpt", 40, age=50)
    assert last_run(tmp_path).checkpoint.step == 40
    save(tmp_path / "hpc_ckpt_2.ckpt", 60, age=10)
    found = last_run(tmp_path)
    assert (found.checkpoint.step, found.version) == (60, 0)


class Settings(SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


def test_the_settings_of_a_command_go_on_in_the_runs_folder(tmp_path):
    logger = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": str(tmp_path), "version": None}}
    trainer = SimpleNamespace(logger=[logger, "csv"], default_root_dir="elsewhere", version=None)
    settings = Settings(trainer=trainer, ckpt_path="last", checkpoint=Settings(dirpath=None))
    assert go_on_with_last_run(settings) == f"no checkpoint under {tmp_path} yet: starting anew"
    assert settings.ckpt_path is None
    path = save(version(tmp_path, 3) / "last.ckpt", 4)
    assert "after 4 steps" in go_on_with_last_run(settings)
    assert (settings.ckpt_path, trainer.version, logger["init_args"]["version"]) == (str(path), 3, 3)
    own = save(tmp_path / "own" / "last.ckpt", 5)
    settings.checkpoint.dirpath = str(own.parent)
    go_on_with_last_run(settings)
    assert settings.ckpt_path == str(own)
