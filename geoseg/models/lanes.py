"""Batches on their way to a device and back, two at a time, so that the copies of one hide behind the other's work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOG = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]
LANES = 2
WARM_UP = 3
"""Runs before a CUDA graph is captured: libraries choose and allocate in them, which a graph cannot hold."""


class Lane:
    """Page-locked memory, memory of the device, and on CUDA a stream of its own, for one batch."""

    def __init__(self, images: tuple[int, ...], answer: tuple[int, ...], device: torch.device) -> None:
        is_cuda = device.type == "cuda"
        self.images = torch.zeros(images, dtype=torch.uint8, pin_memory=is_cuda)
        self.answer = torch.zeros(answer, dtype=torch.uint8, pin_memory=is_cuda)
        self.device_images, self.device_answer = self.images.to(device), self.answer.to(device)
        self.stream = torch.cuda.Stream(device) if is_cuda else None  # type: ignore[no-untyped-call]


class Lanes:
    """Sends batches of one shape through a function on a device; any number of threads may send at once.

    Each thread waits for its own answer only, without the interpreter's lock. What runs on the device runs on one
    stream: it is busy with one batch, holds memory for one, and finds the next one copied already.

    Args:
        forward: uint8 images on the device -> uint8 answer on the device, of the shapes below.
        images: shape of the images, the batch first.
        answer: shape of the answer, the batch second.
        device: where `forward` runs.
    """

    def __init__(
        self, forward: Forward, *, images: tuple[int, ...], answer: tuple[int, ...], device: torch.device
    ) -> None:
        self.batch_size = images[0]
        self._launch = threading.Lock()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for _ in range(LANES):
            self._free.put(Lane(images, answer, device))
        self._forward = forward if self._stream is None else capture_graph(forward, images, self._stream)

    @torch.inference_mode()
    def send(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The answer to up to a batch of images; a short batch is filled up with black ones, so that none differs."""
        lane = self._free.get()
        try:
            return self._send(lane, images)
        finally:
            if lane.stream is not None:
                # After a fault as well: nobody may fill what is still being copied.
                lane.stream.synchronize()
            self._free.put(lane)

    def _send(self, lane: Lane, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        count = len(images)
        lane.images[:count].copy_(torch.from_numpy(images))
        lane.images[count:].zero_()
        with torch.cuda.stream(lane.stream):
            lane.device_images.copy_(lane.images, non_blocking=True)
        with self._launch, torch.cuda.stream(self._stream):
            if self._stream is not None and lane.stream is not None:
                self._stream.wait_stream(lane.stream)
            lane.device_answer.copy_(self._forward(lane.device_images))
            if self._stream is not None and lane.stream is not None:
                lane.stream.wait_stream(self._stream)
        with torch.cuda.stream(lane.stream):
            lane.answer.copy_(lane.device_answer, non_blocking=True)
        if lane.stream is not None:
            lane.stream.synchronize()
        return lane.answer[:, :count].numpy().copy()


@torch.inference_mode()
def capture_graph(forward: Forward, shape: tuple[int, ...], stream: torch.cuda.Stream) -> Forward:
    """The same function with its kernels launched at once as a CUDA graph; where that fails, the function itself.

    Args:
        forward: uint8 images on the device -> an answer on the device; all calls come from `stream`.
        shape: of the images.
        stream: where it runs.

    Raises:
        torch.OutOfMemoryError: the device cannot hold what the function needs.
    """
    try:
        images = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                forward(images)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may be copying meanwhile, which is none of the graph's business.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            answer = forward(images)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        LOG.warning("kernels are launched one by one, since no CUDA graph could be captured: %s", error)
        return forward

    def replay(given: Tensor) -> Tensor:
        images.copy_(given)
        graph.replay()
        return answer

    return replay
