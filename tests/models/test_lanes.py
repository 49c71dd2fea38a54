"""Batches come back as they went out, whoever sends what at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from geoseg.models.lanes import LANES, Lanes

IMAGES, ANSWER = (4, 3, 8, 8), (2, 4, 5, 5)
CPU = torch.device("cpu")


def measure(images: torch.Tensor) -> torch.Tensor:
    """The first pixel of every image, and how many images are not black."""
    first = images[:, 0, 0, 0].view(1, -1, 1, 1).expand(1, 4, 5, 5)
    lit = (images.amax(dim=(1, 2, 3)) > 0).sum().to(torch.uint8).expand(1, 4, 5, 5)
    return torch.cat([first, lit])


def open_lanes(forward: object = measure, device: torch.device = CPU) -> Lanes:
    return Lanes(forward, images=IMAGES, answer=ANSWER, device=device)  # type: ignore[arg-type]


def make_images(value: int, count: int) -> np.ndarray:
    return np.full((count, *IMAGES[1:]), value, np.uint8)


def check_threads(lanes: Lanes) -> None:
    def send(value: int) -> None:
        count = value % 4 + 1
        answer = lanes.send(make_images(value, count))
        assert answer.shape == (2, count, 5, 5)
        assert (answer[0] == value).all()
        # What a lane carried before is gone: the rest of the batch is black.
        assert (answer[1] == count).all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(1, 200)))


def test_every_thread_gets_its_own_answer() -> None:
    check_threads(open_lanes())


def test_no_more_batches_are_under_way_than_lanes() -> None:
    waiting, most, lock = 0, 0, threading.Lock()
    entered = threading.Event()

    class Watched(Lanes):
        def _send(self, lane: object, images: np.ndarray) -> np.ndarray:
            nonlocal waiting, most
            with lock:
                waiting += 1
                most = max(most, waiting)
                if waiting == LANES:
                    entered.set()
            entered.wait(10)
            with lock:
                waiting -= 1
            return np.zeros(1, np.uint8)

    lanes = Watched(measure, images=IMAGES, answer=ANSWER, device=CPU)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lanes.send, [make_images(1, 1)] * 12))
    assert most == LANES


def test_a_fault_gives_the_lane_back() -> None:
    def fail_on_seven(images: torch.Tensor) -> torch.Tensor:
        if images[0, 0, 0, 0] == 7:
            raise torch.OutOfMemoryError("too much")
        return measure(images)

    lanes = open_lanes(fail_on_seven)
    for _ in range(2 * LANES):
        with pytest.raises(torch.OutOfMemoryError):
            lanes.send(make_images(7, 1))
    check_threads(open_lanes())
    assert (lanes.send(make_images(9, 2))[0] == 9).all()


@pytest.mark.gpu
def test_on_a_device_too() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    check_threads(open_lanes(device=torch.device("cuda")))


@pytest.mark.gpu
def test_without_a_graph_too(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be captured, here because it waits for the device, runs kernel by kernel."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")

    def wait(images: torch.Tensor) -> torch.Tensor:
        return measure(images) if images.sum().item() >= 0 else images

    check_threads(open_lanes(wait, torch.device("cuda")))
    assert "CUDA graph" in caplog.text
