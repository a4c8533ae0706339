"""Wall and processor seconds of actions in turn, so that a busy machine affects all equally."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promptcodec.evaluation.speed.timing import ratio, summarise

Actions = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Turns:
    """Repeated runs of one action.

    Args:
        wall: seconds of each run by the clock.
        cpu: processor seconds of each run, of all threads of this process.
    """

    wall: list[float]
    cpu: list[float]


def in_turn(actions: Actions, *, repeats: int, warm_up: int = 3) -> dict[str, Turns]:
    """Run all actions in rounds, each once per round.

    Args:
        actions: functions by name.
        repeats: number of measured rounds.
        warm_up: number of rounds before them that are not measured.
    """
    found = {name: Turns([], []) for name in actions}
    for turn in range(warm_up + repeats):
        for name, action in actions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            action()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if turn >= warm_up:
                found[name].wall.append(wall)
                found[name].cpu.append(cpu)
    return found


def facts_of(turns: dict[str, Turns], *, against: dict[str, Sequence[str]], pictures: int) -> Any:
    """Seconds of a picture of every action, and its ratios to some of the others.

    Args:
        turns: runs by name.
        against: names that each action is compared with.
        pictures: number of pictures of one run.
    """
    return {
        name: {
            "seconds": asdict(summarise([each / pictures for each in own.wall])),
            "cpu_seconds": asdict(summarise([each / pictures for each in own.cpu])),
            "ratio": {other: asdict(ratio(own.wall, turns[other].wall)) for other in against[name]},
            "cpu_ratio": {
                other: asdict(ratio(own.cpu, turns[other].cpu)) for other in against[name]
            },
        }
        for name, own in turns.items()
    }
