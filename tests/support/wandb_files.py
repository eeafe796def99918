"""What Weights & Biases wrote offline: its file is LevelDB's log of protocol buffers."""

import json
import struct
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> list[Any]:
    """The records of a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, found, part = file.read_bytes(), 7, [], b""
    assert data[:4] == b":W&B"
    while place < len(data):
        if BLOCK - place % BLOCK < 7:  # no header fits into the rest of the block
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += 7
        part += data[place : place + length]
        place += length
        if kind in (FULL, LAST):
            found.append(Record.FromString(part))
            part = b""
    return found


def history(file: Path) -> list[tuple[int, str, Any]]:
    """Step, tag and value of everything that was logged."""
    points = []
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            row = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            step = row.pop("_step")
            points += [(step, tag, value) for tag, value in row.items() if tag[0] != "_"]
    return points
