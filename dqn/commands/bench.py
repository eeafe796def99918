"""``bench``: the speed of each part of a run on this machine, where the loop's time goes, and how
close the loop comes to what its parts allow.

Every rate is the median of several windows; the first window is warm-up and is not counted. The
loop is that of ``train``, once learning has begun.
"""

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dqn.commands import bench_emulator
from dqn.commands.bench_loop import measure_loop, measure_shares
from dqn.commands.bench_parts import measure_parts
from dqn.commands.bench_peers import check_peers, measure_peers
from dqn.commands.bench_profile import measure_profile
from dqn.commands.bench_table import (
    Figures,
    conclusion,
    limits,
    print_figures,
    print_iteration,
    print_profile,
    print_sentence,
)
from dqn.commands.bench_timing import Announcer, release_memory
from dqn.commands.evaluate import check_writable, write_json
from dqn.config import Config, ConfigError
from dqn.config.commands import BenchOptions
from dqn.config.yaml_file import as_yaml
from dqn.device import (
    cores,
    gpu_versions,
    resolve_device,
    resolve_precision,
    use_deterministic_operations,
    use_precision,
    use_threads,
)
from dqn.storage.provenance import device_name, versions


def run(options: BenchOptions) -> int:
    """Measure, print tables, and write the figures to a file if asked.

    Raises:
        ConfigError: the method is not DQN or has actors, the game or the device does not exist, the
            file cannot be written, there is no peer to compare with, or options exclude each other.
    """
    config = dataclasses.replace(options.settings, game=options.settings.game or "Breakout")
    if options.emulator:
        bench_emulator.check(options)
    elif config.method != "dqn":
        raise ConfigError(f"bench measures method dqn, not {config.method}")
    elif config.actors:
        raise ConfigError(
            "bench measures one process; leave --actors out (docs/scaling.py measures them)"
        )
    elif options.peers:
        check_peers(config)
    if options.json:
        check_writable(Path(options.json))  # now, not after minutes
    with Announcer() as announce:
        if options.emulator:
            figures = bench_emulator.measure(options, announce)
        else:
            figures = measure(config, options, announce)
    print_figures(figures)
    if options.emulator:
        bench_emulator.print_table(figures)
    else:
        period = config.learner.update_period
        print_iteration(figures, config.num_envs / period)
        if options.profile:
            print_profile(figures)
        print_sentence(conclusion(figures, period))
    if options.json:
        write_json(Path(options.json), figures)
    return 0


def measure(config: Config, options: BenchOptions, announce: Announcer) -> Figures:
    """Every figure of a run, one part after the other."""
    device, seconds = resolve_device(config.device), options.seconds
    threads = use_threads(config.threads)
    if config.deterministic:
        use_deterministic_operations(device)
    precision = resolve_precision(config.precision, device)
    use_precision(precision)
    config = dataclasses.replace(config, precision=precision)
    figures: Figures = {"device": device_name(device), "threads": threads, "precision": precision}
    figures |= {"num_envs": config.num_envs, "batch_size": config.learner.batch_size}
    figures["total_steps"] = config.total_steps
    figures |= {"versions": versions() | gpu_versions(device)}
    figures |= {"cores": cores(), "load_before": os.getloadavg()[0]}
    announce("the start of a run")
    figures["startup_seconds"] = seconds_to_first_step(config)
    profiling = [measure_profile] if options.profile else []
    for part in (measure_parts, measure_loop, measure_shares, *profiling):
        figures |= part(config, device, seconds, announce)
        release_memory(device)
    figures["iteration"] = iteration(figures.pop("alone"), in_loop := figures.pop("in_the_loop"))
    if "sampled_batches_per_second" not in figures:  # it is inside a CUDA graph
        batches = config.num_envs / config.learner.update_period
        figures["sampled_batches_per_second"] = batches / in_loop["sampling"]
    figures |= ratios(config, figures)
    if device.type == "cuda":
        figures["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        figures["peak_gpu_memory_reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    if options.peers:
        announce("Stable-Baselines3 beside this program")
        figures |= measure_peers(config, 2 * seconds)
    return figures


def iteration(alone: dict[str, float], in_loop: dict[str, float]) -> Figures:
    """What each part takes of an iteration of the loop, by itself and in the loop."""
    total = sum(in_loop.values())
    return {
        part: {"alone_seconds": alone.get(part), "seconds": seconds, "share": seconds / total}
        for part, seconds in in_loop.items()
    }


def ratios(config: Config, figures: Figures) -> Figures:
    """Ratios of the measured figures, and the memory used."""
    training = figures["training_steps_per_second"]
    slowest = min(limits(figures, config.learner.update_period).values())
    return {
        "training_frames_per_second": training * figures["frames_per_step"],
        "share_of_slowest_limit": training / slowest,
        "share_of_arithmetic_limit": training / figures["arithmetic_limit_steps_per_second"],
        "hours_for_total_steps": config.total_steps / training / 3600,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def seconds_to_first_step(config: Config) -> float:
    """Time from starting such a run, in a new process, to the report of its first step.

    Raises:
        ConfigError: it ends before that.
    """
    with tempfile.TemporaryDirectory(prefix="dqn-bench-") as folder:
        at_once = dataclasses.replace(
            config, report_period=1, checkpoints_dir=folder, wandb=None, render=False
        )
        file = Path(folder, "bench.yaml")
        file.write_text(as_yaml(at_once), encoding="utf-8")
        command = [sys.executable, "-m", "dqn", f"--config={file}"]
        began = time.perf_counter()
        beside = Path(__file__).parents[2]  # dqn/, where -m finds it, installed or not
        process = subprocess.Popen(command, cwd=beside, stderr=subprocess.DEVNULL)
        try:
            while not any(Path(folder).glob("*/*/training.jsonl")):
                if process.poll() is not None:
                    raise ConfigError(
                        "a run with these settings does not start; train says why: "
                        f"its exit status is {process.returncode}"
                    )
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
