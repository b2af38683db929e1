"""Run two real processes that train together over gloo, once for a list of jobs.

As a program, it does in each process the jobs of the file in its argument. A job is one call of
`train`, or one of the functions below by name.
"""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

WORLD = 2
DEADLINE_S = 240.0


def train_job(config: Any, out: Path, stop_after: int | None = None) -> dict[str, Any]:
    """Train `config` in `out`; after `stop_after` steps, only the last process gets a signal."""
    from ganserve_training import config_to_dict

    return {"config": config_to_dict(config), "out": str(out), "stop_after": stop_after}


def do_together(jobs: dict[str, dict[str, Any]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the result of each job in each process, by rank.

    A call of `train` gives `step` and `resumed_step`, or `error` and `message`, and `said`, its output.
    """
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # Keep the port reserved.
    (folder / "jobs.json").write_text(json.dumps(jobs))
    members = []
    try:
        for rank in range(WORLD):
            variables = {
                "TORCHELASTIC_RUN_ID": "test",
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "GROUP_RANK": "0",
                "WORLD_SIZE": str(WORLD),
                "LOCAL_WORLD_SIZE": str(WORLD),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
            }
            command = [sys.executable, __file__, str(folder)]
            members.append(
                subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            )
        for member in members:
            said, _ = member.communicate(timeout=DEADLINE_S)
            assert member.returncode == 0, said.decode()
    finally:
        for member in members:
            member.kill()
            member.wait()
    found = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(WORLD)]
    return {name: [each[name] for each in found] for name in jobs}


def _train(job: dict[str, Any], rank: int) -> dict[str, Any]:
    from rich.console import Console

    from ganserve_training import train
    from ganserve_training.config.serialisation import config_from_dict
    from ganserve_training.errors import TrainingError

    said = io.StringIO()
    stop_after = job["stop_after"] if rank == WORLD - 1 else None
    countdown = iter(range(stop_after or 10**9, -1, -1))
    try:
        result = train(
            config_from_dict(job["config"]),
            Path(job["out"]),
            device="cpu",
            console=Console(file=said, width=1000),
            stop_signal=lambda: signal.SIGTERM if next(countdown) == 1 else None,
        )
        return {"step": result.step, "resumed_step": result.resumed_step, "said": said.getvalue()}
    except TrainingError as error:
        return {"error": type(error).__name__, "message": str(error), "said": said.getvalue()}


def _layers(rank: int) -> dict[str, Any]:
    """Average the running statistics of one batch of four samples in two shares."""
    import torch

    from ganserve_training.networks import MinibatchStddev
    from ganserve_training.run.devices import open_processes
    from ganserve_training.run.distributed import running_statistics

    network = torch.nn.Sequential(torch.nn.BatchNorm1d(1), MinibatchStddev(2))
    network(torch.tensor([[0.0], [2.0], [10.0], [14.0]])[2 * rank : 2 * rank + 2])
    open_processes("cpu").average(running_statistics(network))
    return {name: buffer.tolist() for name, buffer in network.named_buffers()}


def _players(job: dict[str, Any]) -> dict[str, Any]:
    """Return a digest of the networks after some steps, which must be equal in all processes."""
    import hashlib

    from ganserve_training.config.serialisation import config_from_dict
    from ganserve_training.data import load_split
    from ganserve_training.run.devices import open_processes
    from ganserve_training.run.training_step import Trainer

    config = config_from_dict(job["config"])
    trainer = Trainer(config, load_split(config.data, "train"), open_processes("cpu"))
    for _ in range(config.steps):
        trainer.run_step()
    digest = hashlib.sha256()
    for network in (trainer.generator, trainer.critic, trainer.ema.module):
        for tensor in network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    return {"digest": digest.hexdigest(), "statistics": len(trainer._statistics)}


def _main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    found = {}
    for name, job in json.loads((folder / "jobs.json").read_text()).items():
        if job.get("function") == "layers":
            found[name] = _layers(rank)
        elif job.get("function") == "players":
            found[name] = _players(job)
        else:
            found[name] = _train(job, rank)
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
