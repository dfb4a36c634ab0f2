"""Work is stopped from another thread, within a run of a graph too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from helpers import drawn_photo, encoder_graph
from impasto.errors import EngineError
from impasto.runtime.engine import Engine
from impasto.runtime.picture import Picture
from impasto.runtime.stopping import Run, Stop, StoppedError, heeded_stop
from impasto.runtime.style import StyleModel

FEEDS = {"style": np.full((1, 3, 16, 16), 0.5, np.float32)}


def test_a_run_under_way_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    engine = Engine(encoder_graph(), threads=1)

    class Hasty(Stop):
        """Stopped as soon as a run has begun."""

        @contextmanager
        def watching(self, run: Run) -> Iterator[None]:
            with super().watching(run):
                self.now()
                assert run.terminate
                yield

    with Hasty().heeded(), pytest.raises(StoppedError, match="ask for it again"):
        engine.run(FEEDS)
    assert capfd.readouterr() == ("", "")  # nothing of the engine's own


def test_a_stopped_engine_runs_again() -> None:
    engine, stop = Engine(encoder_graph(), threads=1), Stop()
    stop.now()
    with stop.heeded(), pytest.raises(StoppedError):
        engine.run(FEEDS)
    free = engine.run(FEEDS)["code"]
    with Stop().heeded():
        np.testing.assert_array_equal(engine.run(FEEDS)["code"], free)


def test_a_stop_does_not_hide_other_errors() -> None:
    engine = Engine(encoder_graph(), threads=1)
    with Stop().heeded(), pytest.raises(EngineError, match="cannot run"):
        engine.run({"style": np.zeros((1, 2, 16, 16), np.float32)})


def test_only_the_thread_that_heeds_it_stops() -> None:
    stop, seen = Stop(), []
    stop.now()
    with stop.heeded():
        other = Thread(target=lambda: seen.append(heeded_stop()))
        other.start()
        other.join()
        assert heeded_stop() is stop
    assert seen == [None]
    assert heeded_stop() is None


def test_painting_stops(style_bundle: Path) -> None:
    model, stop = StyleModel.load(style_bundle, threads=1), Stop()
    photo = Picture.from_array(drawn_photo())
    with stop.heeded():
        model.paint(photo, "starry-night")
        stop.now()
        assert stop.stopped
        with pytest.raises(StoppedError):
            model.paint(photo, "starry-night")
