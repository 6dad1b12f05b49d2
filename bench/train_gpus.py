"""How training scales over the GPUs of one host: the engine's step at 7B, 65,536 tokens an update, however many GPUs.

Usage: torchrun --standalone --nproc-per-node=N bench/train_gpus.py; the first process prints one JSON line a row.
Rows: every GPU with the whole 4-bit base, and with the base spread over them (fully sharded). With N processes, one GPU
alone is measured first, in the same run, on the same update.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
import torch.distributed as dist
from train_gpu import QWEN7, Placement, decoder, inputs

UPDATE = 65_536
PASS = (4, 2048)


def seconds(model: Any, passes: int, alone: bool) -> float:
    """Median time of an update: passes, one sum over the processes, optimizer."""
    parameters = [torch.nn.Parameter(t) for t in (model.lora.a, model.lora.b)]
    parameters[0].grad, parameters[1].grad = model.lora.a_grad, model.lora.b_grad
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0, fused=True)
    times = []
    for _ in range(4):
        if not alone:
            dist.barrier()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(passes):
            model.step(inputs(*PASS), 1 / UPDATE)
        if not alone:
            for grad in (model.lora.a_grad, model.lora.b_grad):
                dist.all_reduce(grad)
        optimizer.step()
        model.lora.a_grad.zero_()
        model.lora.b_grad.zero_()
        model.lora.refresh()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[1]


def main() -> None:
    dist.init_process_group("nccl")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.cuda.set_device(rank)
    passes = UPDATE // (PASS[0] * PASS[1])
    for name, placement in (
        ("whole base on each", Placement(28, 2, 4)),
        ("base spread", Placement(28, 2, 4, sharded=world)),
    ):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        model = decoder(QWEN7, placement)
        alone = seconds(model, passes, True) if placement.sharded == 1 and rank == 0 else 0.0
        dist.barrier()
        together = seconds(model, passes // world, False)
        if rank == 0:
            print(
                json.dumps(
                    {
                        "row": name,
                        "gpu": torch.cuda.get_device_name(),
                        "gpus": world,
                        "alone_s": round(alone, 3),
                        "together_s": round(together, 3),
                        "scaling": round(alone / together, 3),
                        "tokens_per_second": round(UPDATE / together),
                        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2),
                    }
                ),
                flush=True,
            )
        del model
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
