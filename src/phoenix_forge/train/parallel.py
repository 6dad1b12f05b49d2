"""Several GPUs: who this process is, sums over all of them, and starting one process a GPU.

Gradients are those of a small adapter, so data parallelism is one sum a step; the frozen base is copied to each GPU, or
spread over them and gathered layer by layer (engine/frozen.py) where it does not fit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phoenix_forge.errors import EnvironmentProblem, StageFailed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class World:
    """`rank` of `size` processes; `local` is the GPU of this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, *tensors: Tensor) -> None:
        """In place, over all processes."""
        if self.size > 1:
            import torch.distributed as dist

            for tensor in tensors:
                dist.all_reduce(tensor)

    def share(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def launched() -> bool:
    """Whether torchrun or accelerate started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Whether this process is alone, or the one of several that writes and speaks."""
    return not launched() or os.environ.get("RANK") == "0"


def join() -> World:
    """This process's place, from the variables that torchrun and accelerate set; alone without them."""
    if not launched():
        return World()
    import torch
    import torch.distributed as dist

    world = World(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        int(os.environ.get("LOCAL_RANK", "0")),
    )
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return world


def begin() -> None:
    """The first process lets the others into the training it is about to run."""
    join().share(True)


def end(failed: bool = False) -> None:
    """This process is through. Others that wait for the first one are let go where there was nothing to train."""
    if not launched():
        return
    import torch.distributed as dist

    if first() and not dist.is_initialized():
        join().share(False)
    if not failed:  # after a failure nobody waits: torchrun ends the others
        dist.barrier()
    dist.destroy_process_group()


def launch(gpus: int, arguments: Sequence[str]) -> None:
    """Runs `forge` with these arguments in one process a GPU, through torchrun, and waits for all."""
    import torch

    there = torch.cuda.device_count()
    if torch.cuda.is_available() and there < gpus:
        raise EnvironmentProblem(f"--gpus {gpus}: this machine has {there}", fix=f"--gpus {there}")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={gpus}",
            "-m",
            "phoenix_forge",
            *arguments,
        ],
        check=False,
    )
    if done.returncode:
        raise StageFailed(
            f"training on {gpus} processes ended with exit code {done.returncode}",
            fix="its messages are above; forge train resumes from the last checkpoint",
        )
