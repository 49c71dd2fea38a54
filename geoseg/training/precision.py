"""In how many bits networks are trained."""

from __future__ import annotations

import torch

from geoseg.errors import OptionError
from geoseg.training.job import Precision


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that convolutions are computed in; "mixed" is bfloat16 where the device knows it, float16 elsewhere.

    Raises:
        OptionError: the device does not compute in what the job asks for.
    """
    has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "mixed":
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if precision == "bfloat16" and not has_bfloat16:
        raise OptionError(
            "precision 'bfloat16' on a device that does not compute in it",
            expected="'float32', 'float16' or 'mixed'",
            remedy="set schedule.precision to 'mixed'",
        )
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which the device computes in `choose_dtype`; weights and losses stay float32."""
    dtype = choose_dtype(precision, device)
    is_mixed = dtype != torch.float32
    return torch.autocast(device.type, dtype if is_mixed else None, enabled=is_mixed)
