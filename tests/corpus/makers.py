"""What stands for an expensive sample in other processes; tasks are plain values."""

import errno
import hashlib
import os
import signal
import time
from pathlib import Path

from vivavoce.errors import InputError


def sample(task):
    """Bytes that depend on the task alone, of uneven lengths, after uneven times."""
    digest = hashlib.sha256(str(task).encode()).digest()
    time.sleep(digest[0] / 255 * 0.02)
    return {"wav": digest * (1 + digest[1]), "json": str(task).encode()}


def slow_sample(task):
    (Path(os.environ["PIDS"]) / str(os.getpid())).touch()
    time.sleep(0.15)
    return sample(task)


def picky_sample(task):
    if task % 3 == 1:
        raise InputError(f"Task {task} has no voice: choose another.")
    return sample(task)


def no_sample(task):
    raise InputError(f"flite is not installed, says {task}; install it.")


def mistaken_sample(task):
    return sample(task) if task != 5 else {}["missing"]


def full_sample(task):
    if task == 5:
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x.wav")
    return sample(task)


def dying_sample(task):
    if task == 5:
        os._exit(9)
    return sample(task)


def told_sample(task):
    """What its process was started with, and an order of a set."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    told = [os.environ.get(name, "") for name in names]
    told.append(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
    return {"json": f"{told} {list({'one', 'two', 'three', 'four', 'five'})}".encode()}
