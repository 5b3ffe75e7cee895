"""Makes one run, and gives what happened in it."""

from hesper.testing._dialect import Dialect
from hesper.testing._exchange import Runaway
from hesper.testing._sweep.leftovers import Leftovers, Recorder
from hesper.testing._sweep.loops import Backend, cancelled_class, run_on
from hesper.testing._sweep.play import Outcome, Point, Setting
from hesper.testing._sweep.stage import Stage
from hesper.testing._sweep.watch import Killed, Watch


def play(
    setting: Setting,
    point: Point,
    dialect: Dialect,
    backend: Backend,
    recorder: Recorder,
    *,
    usual: Outcome | None = None,
    trace: bool = False,
) -> Outcome:
    """Makes one run.

    Args:
        recorder: is on, and sees what the run leaves.
        usual: the undisturbed run, whose time this one is allowed as well.
        trace: fills `Outcome.timeline`.
    """
    outcome = Outcome(point, dialect, backend, Leftovers())
    watch = Watch(cancelled_class(backend), setting.steps)
    recorder.now = outcome.left
    stage = Stage(setting, outcome, watch, recorder, usual, trace)
    try:
        run_on(backend, stage.main, watch, seed=setting.seed, real_time=setting.real_time)
    except (Exception, Killed, Runaway) as exc:
        outcome.crashed = exc
    recorder.now = Leftovers()
    return outcome
