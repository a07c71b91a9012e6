"""Several runs at once in threads of the driver, where one's failure does not stop the others."""

import threading
from collections.abc import Callable, Mapping

from jobs.common.training import Workers
from pipeline.errors import UserError


def run_side_by_side(runs: Mapping[str, Callable[[], None]], at_once: int) -> None:
    """Runs all of them, up to ``at_once`` at a time in the order given, and waits for the last.

    Raises:
        UserError: one line for all runs that ended with one, each after its name.
        Exception: the first other exception, once all runs have ended.
    """
    places = threading.Semaphore(at_once)
    failures: dict[str, BaseException] = {}

    def guarded(name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            failures[name] = error
        finally:
            places.release()

    threads: list[threading.Thread] = []
    for name, run in runs.items():
        # Waits that end now and then: Ctrl-C is only seen between them. The threads are daemons,
        # so that what runs in them ends with the Ray session that the interruption ends.
        while not places.acquire(timeout=0.2):
            pass
        threads.append(threading.Thread(target=guarded, args=(name, run), daemon=True))
        threads[-1].start()
    for thread in threads:
        while thread.is_alive():
            thread.join(timeout=0.2)
    _tell(failures)


def _tell(failures: Mapping[str, BaseException]) -> None:
    for error in failures.values():
        if not isinstance(error, UserError):
            raise error
    if failures:
        raise UserError("; ".join(f"{name}: {error}" for name, error in failures.items()))


def places_for(workers: Workers, num_runs: int, resources: Mapping[str, float]) -> int:
    """How many runs the cluster holds at a time, at least one.

    One CPU is left to Ray's own tasks. A run with a range of workers counts with its fewest.
    """
    num = workers.num_workers
    least = num if isinstance(num, int) else num[0]
    if least == 0:
        return 1  # in the driver's own process
    fits = int((resources.get("CPU", 0.0) - 1) // (least * workers.cpus_per_worker))
    if workers.use_gpu:
        fits = min(fits, int(resources.get("GPU", 0.0) // least))
    return max(1, min(fits, num_runs))
