"""The shipped profile on a Slurm that the test starts: a sweep as jobs, one of them cancelled."""

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdnb import sweep
from bdnb.runs import experiments
from bdnb.runs.records import Run
from tests.lacking import leave_out

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
LIMIT = 1200
"""Seconds until something counts as hanging; a crowded machine may take minutes."""
TIMES = ("seconds", "eval_seconds", "pairs_per_s")

pytestmark = pytest.mark.slurm


def ports(count: int) -> list[int]:
    """Free ports, all open at once so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return numbers


def settings(folder: Path) -> str:
    """``slurm.conf`` of a cluster that is this machine."""
    name = socket.gethostname().partition(".")[0]
    control, node = ports(2)
    files = {
        "StateSaveLocation": "state",
        "SlurmdSpoolDir": "spool",
        "SlurmctldPidFile": "slurmctld.pid",
        "SlurmdPidFile": "slurmd.pid",
        "SlurmctldLogFile": "slurmctld.log",
        "SlurmdLogFile": "slurmd.log",
    }
    values = {
        "ClusterName": "bdnb",
        "SlurmctldHost": f"{name}(127.0.0.1)",
        "SlurmctldPort": control,
        "SlurmdPort": node,
        "AuthInfo": f"socket={folder / 'munge.sock'}",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "MpiDefault": "none",
        "MinJobAge": 36000,  # squeue still knows every job when the test asks
        "ReturnToService": 2,
        "SchedulerParameters": "batch_sched_delay=1,sched_interval=2",
    } | {key: folder / file for key, file in files.items()}
    lines = [f"{key}={value}" for key, value in values.items()]
    lines.append(f"NodeName={name} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=4000")
    lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
    return "\n".join(lines) + "\n"


def call(*command: object, **named) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, **named)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Slurm of one node, for as long as the tests of this file run."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        there = f"not there: {missing or 'root'}"
        leave_out("slurm", f"it needs root and Debian's slurm-wlm and munge ({there})")
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)  # munged refuses a socket in a folder that not everybody may enter
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(settings(folder))
    # The executor hands no SLURM_* on to a job, and this cluster is not in /etc/slurm.
    srun = folder / "srun"
    conf = folder / "slurm.conf"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    files = {"key-file": "key", "socket": "sock", "pid-file": "pid"}
    munge = [f"--{option}={folder / f'munge.{end}'}" for option, end in files.items()]
    munge += [f"--log-file={folder / 'munge.log'}", f"--seed-file={folder / 'munge.seed'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        patch.setenv("PATH", os.pathsep.join([str(folder), str(BIN), os.environ["PATH"]]))
        try:
            for command in (["munged", *munge], ["slurmctld"], ["slurmd"]):
                done = call(*command)
                assert done.returncode == 0, f"{command}: {done.stderr}"
            deadline = time.monotonic() + LIMIT
            while "idle" not in call("sinfo", "-h", "-o", "%T").stdout:
                assert time.monotonic() < deadline, (folder / "slurmd.log").read_text()[-2000:]
                time.sleep(0.5)
            yield folder
        finally:
            for pid in (folder / "slurmd.pid", folder / "slurmctld.pid", folder / "munge.pid"):
                if pid.is_file():
                    call("kill", pid.read_text().strip())


@pytest.fixture
def project(fresh):
    """A project whose cleaning run is long enough to be cancelled in the middle."""
    for name in ("book", "notebooks"):
        shutil.copytree(REPOSITORY / name, fresh / name)
    (fresh / "bdnb").symlink_to(REPOSITORY / "bdnb")
    shutil.copytree(REPOSITORY / "params" / "profiles", fresh / "params" / "profiles")
    for path in (fresh / "params" / "tiny").glob("*.yaml"):
        if path.stem not in ("data", "clean", "train_mmcl"):
            path.unlink()
    clean = fresh / "params" / "tiny" / "clean.yaml"
    text = clean.read_text().replace("[train_mmcl, train_mmcl_ssl]", "train_mmcl")
    clean.write_text(text.replace("epochs: 2", "epochs: 20") + "save_every: 0\n")
    return fresh


def snakemake(home: Path) -> subprocess.Popen[str]:
    """The profile as it is shipped, but for what one small node without GPUs has not."""
    small = ["gpu=0", "mem_mb=500", "cpus_per_task=1", "runtime=30"]
    sets = [f"{rule}:{value}" for rule in ("train", "clean") for value in small]
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"]
    given = ["--profile", "params/profiles/slurm", "--set-resources", *sets, *quick]
    given += ["--slurm-status-command", "squeue", "--default-resources", "mem_mb=500"]
    return subprocess.Popen(
        [BIN / "snakemake", "runs", "-s", "notebooks/Snakefile", *given, "--config", "scale=tiny"],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_rows(run: Run, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT
    while len(run.rows()) < count:
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            pytest.fail(process.communicate()[0][-5000:])
        time.sleep(0.05)


def test_a_sweep_runs_as_jobs_and_survives_one_that_is_cancelled(cluster, project, tmp_path):
    (asked,) = experiments.of_file("tiny", "clean")
    run = Run(experiments.folder(asked))
    process = snakemake(project)
    wait_for_rows(run, 4, process)
    running = call("squeue", "-h", "-t", "R", "-o", "%i").stdout.split()
    assert len(running) == 1
    cut = len(run.rows())
    call("scancel", running[0])
    said = process.communicate(timeout=LIMIT)[0]
    assert process.returncode == 0, said[-3000:]
    states = call("squeue", "-h", "--states=all", "-o", "%i %T").stdout
    assert f"{running[0]} CANCELLED" in states
    assert states.count("COMPLETED") >= 2
    assert run.finished
    assert cut < 20
    assert run.manifest["resumed"], "the second job began anew"
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]
    run.folder.rename(tmp_path / "elsewhere")
    sweep.run_one(dataclasses.replace(asked))
    assert rows == [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]
