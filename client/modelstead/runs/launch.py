"""Which process of a distributed job this is, and of which job, as those who launch such jobs tell it by variables; and
what run it begins.
"""

import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

WORLD_SIZE_MAX = 1_000_000
NODE_LENGTH_MAX = 256

# Rank, how many there are, rank on the node: torchrun and what calls itself like it, a step of Slurm, Open MPI.
_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
_MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")
# Of its own accord torchrun calls a job `none`, and people call theirs `100`, today and tomorrow: only a UUID, as
# `--standalone` makes one, is taken for unique.
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Which process of a job this is; `local_rank` is its number on the node, if that is known."""

    rank: int
    world_size: int
    node: str
    local_rank: int | None


def place(environ: Mapping[str, str]) -> Place | None:
    """Return which process of a job this is; None if nobody says so, or what is said makes no sense."""
    for rank_name, size_name, local_name in (_TORCH, _SLURM, _MPI):
        rank, world_size = _number(environ, rank_name), _number(environ, size_name)
        if rank is not None and world_size is not None and rank < world_size <= WORLD_SIZE_MAX:
            return Place(rank=rank, world_size=world_size, node=this_node(), local_rank=_number(environ, local_name))
    return None


def launch_id(environ: Mapping[str, str]) -> str | None:
    """Return what all processes of this job have in common, and no other job has; None if nothing is sure to be so.

    A process that is alone, such as a notebook in an allocation of Slurm's, is not taken for a job.
    """
    found = place(environ)
    if found is None or found.world_size == 1:
        return None
    if _UUID.fullmatch(environ.get("TORCHELASTIC_RUN_ID", "")):
        return f"torchrun {environ['TORCHELASTIC_RUN_ID']}"
    job, step = environ.get("SLURM_JOB_ID"), environ.get("SLURM_STEP_ID")
    # Within a step of one task, each torchrun is a job of its own.
    if job and step and (_number(environ, "SLURM_STEP_NUM_TASKS") or 1) > 1:
        return f"slurm {environ.get('SLURM_CLUSTER_NAME', '')} {job}.{step}"
    return None


def run_id(launch: str, *, experiment: str, number: int) -> str:
    """Return the run that each process of a launch begins as its run of that number, counted from 0, in an experiment.

    All of them find it without asking anybody.
    """
    name = "\0".join(("modelstead.launch", launch, experiment, str(number)))
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def this_node() -> str:
    """Return what this machine calls itself."""
    return socket.gethostname()[:NODE_LENGTH_MAX]


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(WORLD_SIZE_MAX)) else None
