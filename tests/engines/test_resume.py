"""A training that dies goes on bit for bit from its state file, and a state file of another training is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events

from monai_cavga.handlers import StateFileError, TrainingStateHandler


class DeadError(Exception):
    """Stands for the end of a process; the real SIGKILL is in tests/journeys."""


def die_at(iteration):
    def stop(engine):
        if engine.state.iteration == iteration:
            raise DeadError

    return SimpleNamespace(attach=lambda engine: engine.add_event_handler(Events.ITERATION_STARTED, stop))


@pytest.mark.parametrize("head", ["none", "flat"])
@pytest.mark.parametrize(("dies", "every", "first"), [(8, 3, 7), (6, 100, 5), (11, 2, 11), (3, 2, 3)])
def test_resumed_equals_uninterrupted(make_run, tmp_path, head, dies, every, first):
    """Four iterations an epoch. Dying in iteration 8 with a state every 3 goes on from iteration 7, and so on."""
    whole = make_run(head=head, state=tmp_path / "whole.pt", every=every, schedule=True)
    whole.trainer.run()
    state = tmp_path / "state.pt"
    dying = make_run(head=head, state=state, every=every, schedule=True, handlers=[die_at(dies)])
    with pytest.raises(DeadError):
        dying.trainer.run()
    resumed = make_run(head=head, state=state, every=every, schedule=True)
    resumed.trainer.run()
    assert min(resumed.curve) == first
    assert max(resumed.curve) == 12
    assert resumed.curve == {i: terms for i, terms in whole.curve.items() if i >= first}
    for name, part in whole.trainer.trainables().items():
        _assert_equal(part.state_dict(), resumed.trainer.trainables()[name].state_dict())


def _assert_equal(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_equal(one[key], other[key])
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            _assert_equal(a, b)
    else:
        assert one == other


def test_a_finished_training_is_not_run_again_and_more_epochs_go_on(make_run, tmp_path):
    state = tmp_path / "state.pt"
    make_run(epochs=2, state=state).trainer.run()
    again = make_run(epochs=2, state=state)
    again.trainer.run()
    assert again.curve == {}
    longer = make_run(epochs=3, state=state)
    longer.trainer.run()
    whole = make_run(epochs=3)
    whole.trainer.run()
    assert longer.curve == {i: whole.curve[i] for i in range(9, 13)}


def test_best_metric_survives(make_run, tmp_path):
    evaluator = SimpleNamespace(state=SimpleNamespace(best_metric=0.75, best_metric_epoch=1))
    state = tmp_path / "state.pt"
    make_run(epochs=1, handlers=[TrainingStateHandler(state, evaluator=evaluator)]).trainer.run()
    fresh = SimpleNamespace(state=SimpleNamespace(best_metric=-1, best_metric_epoch=-1))
    make_run(epochs=2, handlers=[TrainingStateHandler(state, evaluator=fresh)]).trainer.run()
    assert (fresh.state.best_metric, fresh.state.best_metric_epoch) == (0.75, 1)


def test_resume_false_starts_anew(make_run, tmp_path):
    state = tmp_path / "state.pt"
    make_run(epochs=1, state=state).trainer.run()
    run = make_run(epochs=1, handlers=[TrainingStateHandler(state, resume=False)])
    run.trainer.run()
    assert len(run.curve) == 4


def test_the_file_is_plain_tensors_and_no_temporary_file_stays(make_run, tmp_path):
    make_run(epochs=1, state=tmp_path / "state.pt").trainer.run()
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert torch.load(tmp_path / "state.pt", weights_only=True)["iteration"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "is of another training, got .*'seed': 0.* expected .*'seed': 1"),
        ({"batch": 2}, "is of another training, got .*'epoch_length': 4.* expected .*'epoch_length': 6"),
        ({"architecture": "D"}, "is of another architecture"),
        ({"schedule": True}, "holds .* expected .*scheduler.network.*: delete it"),
    ],
)
def test_a_state_of_another_training_is_refused(make_run, tmp_path, change, message):
    state = tmp_path / "state.pt"
    make_run(epochs=1, state=state).trainer.run()
    with pytest.raises(StateFileError, match=message):
        make_run(epochs=1, state=state, **change).trainer.run()


@pytest.mark.parametrize("content", [b"", b"not a state", "version"])
def test_an_unreadable_state_is_refused(make_run, tmp_path, content):
    state = tmp_path / "state.pt"
    if isinstance(content, bytes):
        state.write_bytes(content)
    else:
        torch.save({"other": 1}, state)
    with pytest.raises(StateFileError, match=r"state\.pt cannot be read .*: delete it to start anew"):
        make_run(epochs=1, state=state).trainer.run()


def test_every_is_checked(tmp_path):
    with pytest.raises(ValueError, match="every is 0, expected at least 1 iteration"):
        TrainingStateHandler(tmp_path / "state.pt", every=0)


def test_other_settings_or_images_are_refused_and_the_same_go_on(make_run, tmp_path, capsys):
    state = tmp_path / "state.pt"
    items = [{"name": "a", "label": 0}, {"name": "b", "label": 0}]

    def run(epochs, settings, items):
        make_run(epochs=epochs, handlers=[TrainingStateHandler(state, settings=settings, items=items)]).trainer.run()

    run(1, {"labelled": 4, "image_size": (64, 96)}, items)
    with pytest.raises(StateFileError, match=r"got labelled 4, expected 1: use the options .* pass --resume False"):
        run(2, {"labelled": 1, "image_size": (64, 96)}, items)
    with pytest.raises(StateFileError, match="got training images"):
        run(2, {"labelled": 4, "image_size": [64, 96]}, [*items[:1], {"name": "b", "label": 1}])
    run(2, {"labelled": 4, "image_size": [64, 96]}, items)
    assert "resumed from" in capsys.readouterr().out
    run(2, {"labelled": 4, "image_size": [64, 96]}, items)
    assert "nothing left to do: more --epochs, or --resume False" in capsys.readouterr().out


def test_resume_is_a_bool(tmp_path):
    with pytest.raises(ValueError, match="resume is 'false', expected True or False"):
        TrainingStateHandler(tmp_path / "state.pt", resume="false")
