"""Train on four ranks with forked data loaders, and log from every one of these processes to one run.

    pip install modelstead mlflow-skinny torch
    export MLFLOW_TRACKING_URI=modelstead://127.0.0.1:8080
    python examples/ddp_training.py

With torch, the ranks are DistributedDataParallel over gloo and the loaders a DataLoader's. Without it, they are plain
processes and train a line by hand, so that the logging can be tried alone. It is MLflow's API throughout: with the URI
above each call returns at once, and what is logged arrives also if the server is away for a while.

Another experiment: MLFLOW_EXPERIMENT_NAME=my-experiment. More to do: STEPS=10000; with torch, steps that take longer:
WIDTH=1024. LOG_EVERY=10 logs each tenth step, LOG_EVERY=0 none, which shows what the logging costs.
"""

import multiprocessing
import os
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import mlflow
from mlflow import MlflowClient

try:
    import torch
    import torch.distributed
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, Dataset
except ModuleNotFoundError:
    torch = None  # type: ignore[assignment]

RANKS = 4
STEPS = int(os.environ.get("STEPS", "200"))
LOG_EVERY = int(os.environ.get("LOG_EVERY", "1"))
WIDTH = int(os.environ.get("WIDTH", "0"))
BATCH = 32
SLOPE, OFFSET = 3.0, -1.0


def main() -> None:
    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "ddp"))
    with mlflow.start_run(run_name="four ranks") as run:
        mlflow.log_params({"ranks": RANKS, "steps": STEPS, "torch": torch is not None})
        # Started afresh, not forked: as torchrun and torch.multiprocessing do it.
        spawning = multiprocessing.get_context("spawn")
        port = _port()
        ranks = [spawning.Process(target=train, args=(rank, run.info.run_id, port)) for rank in range(RANKS)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        failed = [rank for rank, process in enumerate(ranks) if process.exitcode]
        if failed:
            raise SystemExit(f"ranks {failed} have failed")
    print(f"run {run.info.run_id}: {RANKS} ranks, {STEPS} steps each")


def train(rank: int, run_id: str, port: int) -> None:
    """Be one rank, and log its loss at each step."""
    # As torchrun says it, if it starts the ranks: by this the run knows them apart, and sees when one is lost.
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS))
    client = MlflowClient()
    losses = _train_with_torch(rank, run_id, port) if torch else _train_by_hand(rank, run_id)
    began = time.perf_counter()
    for step, loss in enumerate(losses):
        if is_logged(step):
            client.log_metric(run_id, f"rank_{rank}/loss", loss, step=step)
        if step == 0:
            # The first step waits for the loaders to start.
            began = time.perf_counter()
    if rank == 0:
        print(f"{(STEPS - 1) / (time.perf_counter() - began):.2f} steps a second")


def is_logged(step: int) -> bool:
    return LOG_EVERY > 0 and step % LOG_EVERY == 0


def _train_by_hand(rank: int, run_id: str) -> Iterator[float]:
    """Fit a line by gradient descent to batches that a forked process prepares. Yields the loss of each step."""
    forking = multiprocessing.get_context("fork")
    batches = forking.Queue(maxsize=8)
    loader = forking.Process(target=_load, args=(rank, run_id, batches), daemon=True)
    loader.start()
    slope = offset = 0.0
    for _ in range(STEPS):
        batch = batches.get()
        errors = [slope * x + offset - y for x, y in batch]
        slope -= 0.1 * sum(error * x for error, (x, _) in zip(errors, batch, strict=True)) / len(batch)
        offset -= 0.1 * sum(errors) / len(batch)
        yield sum(error * error for error in errors) / len(batch)
    loader.join()


def _load(rank: int, run_id: str, batches: Any) -> None:
    """Prepare batches, in a process of their own, which logs as well."""
    client = MlflowClient()
    generator = random.Random(rank)
    for step in range(STEPS):
        batches.put([_example(generator) for _ in range(BATCH)])
        if is_logged(step):
            client.log_metric(run_id, f"rank_{rank}/loaded", step * BATCH, step=step)


def _example(generator: random.Random) -> tuple[float, float]:
    x = generator.uniform(-1, 1)
    return x, SLOPE * x + OFFSET + generator.gauss(0, 0.1)


def _train_with_torch(rank: int, run_id: str, port: int) -> Iterator[float]:
    """Train a line as DistributedDataParallel, with forked loaders. Yields the loss of each step."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    torch.manual_seed(rank)
    model = DistributedDataParallel(_model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(_line(rank, run_id), batch_size=BATCH, num_workers=2, multiprocessing_context="fork")
    for x, y in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        yield loss.item()
    torch.distributed.destroy_process_group()


def _model() -> Any:
    if not WIDTH:
        return torch.nn.Linear(1, 1)
    wide = [torch.nn.Linear(1, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU()]
    return torch.nn.Sequential(*wide, torch.nn.Linear(WIDTH, 1))


def _line(rank: int, run_id: str) -> Any:
    # To make one takes far longer than to log.
    client = MlflowClient()

    class Line(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return STEPS * BATCH

        def __getitem__(self, index: int) -> Any:
            if index % BATCH == 0 and is_logged(index // BATCH):
                client.log_metric(run_id, f"rank_{rank}/loaded", index, step=index // BATCH)
            x, y = _example(random.Random(rank * STEPS * BATCH + index))
            return torch.tensor([x]), torch.tensor([y])

    return Line()


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    main()
