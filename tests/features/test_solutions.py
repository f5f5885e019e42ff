import subprocess
import sys
import threading

import numpy as np

from vivavoce.features.face import detect
from vivavoce.features.solutions import to_uint8


def test_nothing_is_printed_by_the_graphs():
    program = (
        "import numpy as np, skimage.data\n"
        "from vivavoce.features.portrait import analyze\n"
        "analyze(skimage.data.astronaut().astype(np.float32) / 255)\n"
        "import sys; print('mine', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "mine\n"


def test_threads_may_share_the_graphs():
    import skimage.data

    image = skimage.data.astronaut()
    results: list = []
    threads = [threading.Thread(target=lambda: results.append(detect(image))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [detect(image)] * 4


def test_bytes_are_rounded_and_bounded():
    values = np.array([[[-0.1, 0.0, 0.5 / 255], [0.49 / 255, 1.0, 1.2]]], np.float32)
    assert to_uint8(values).tolist() == [[[0, 0, 1], [0, 255, 255]]]
