"""Run by torchrun: compares sharded with resident layers."""

import sys
from pathlib import Path

import torch
from train_helpers import conversation

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.catalog.memory import Placement
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.train.batches import encode, pack, tensors
from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load, reader
from phoenix_forge.train.engine.shape import shape
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.tiny import build_tiny


def main(folder: Path, data: Path) -> None:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    own = folder / f"base-{rank}"
    texts = [m["content"] for i in range(40) for m in conversation(i)["messages"]]
    build_tiny(own, texts, dtype="F32", layers=3, hidden=64, ffn=128, vocab=600)
    base = open_base(own)
    [batch, *_] = pack(encode(data, Encoder.load(own, stop=QWEN2.stop, pad=QWEN2.pad), 400), 400, 0)
    results = []
    for shards in (1, torch.distributed.get_world_size()):
        decoder = load(
            own,
            shape(base.config, "qwen2"),
            reader(base),
            LoraSettings(QWEN2.targets, 4, 2.0, 0),
            Placement(0, bits=4, sharded=shards),
            ComputeDevice(torch.device("cpu"), torch.float32),
        )
        results.append(
            (decoder.step(tensors(batch, torch.device("cpu")), 1.0), decoder.lora.b_grad.clone())
        )
        if shards > 1:
            assert all(len(piece) * 2 == decoder.store.size for piece in decoder.store.pieces)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    print("equal", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
