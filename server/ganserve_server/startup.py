"""Load the models that a configuration names, and report how they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ganserve.v1 import gan_service_pb2, model_spec_pb2
from ganserve_server.engine.parallelism import choose_buckets, choose_lone_threads, choose_parallelism
from ganserve_server.engine.providers import ON_CPU, ProviderChoice, choose_provider, looks_for_cuda
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.error_text import counted
from ganserve_server.errors import RequestError, StartupError
from ganserve_server.models.repository import Repository
from ganserve_server.models.trial_process import TrialProcesses
from ganserve_server.pictures.marks import Marking
from ganserve_server.queue.options import INLINE_BELOW_S, BatchConfig
from ganserve_server.setting_files import warn_if_open
from ganserve_server.settings import ServerConfig

_SMALL_BATCH_SIZE = 256
_MOST_LABELS = 12


def marking_of(config: ServerConfig) -> Marking:
    """Return how the settings mark pictures; raise StartupError if the C2PA certificate or key cannot sign."""
    if config.c2pa_certificate is None or config.c2pa_key is None:
        return Marking(on=config.mark_pictures)
    from ganserve._marks.signing import C2paSigner, NoC2paError, SigningError

    try:
        signer = C2paSigner(config.c2pa_certificate, config.c2pa_key)
    except NoC2paError as error:
        raise StartupError(f"--c2pa-certificate {config.c2pa_certificate}: {error}.") from error
    except SigningError as error:
        raise StartupError(f"--c2pa-{error.argument} {error}") from error
    warn_if_open("--c2pa-key", config.c2pa_key, secret=True)
    return Marking(on=True, signer=signer)


def check_folder(config: ServerConfig) -> None:
    """Raise StartupError if the folder of models does not exist."""
    if not config.folder.is_dir():
        raise StartupError(_no_folder(config))


def begin_load(
    config: ServerConfig, trials: TrialProcesses, quiet: threading.Lock
) -> Future[tuple[Repository, str]] | None:
    """Begin to `load` on a thread, while the caller imports what answers calls; None: CUDA would hide its report.

    Versions are tried at once, but made, which measures their speed, only when the caller releases the lock.
    """
    if looks_for_cuda(config.provider):
        return None
    return ThreadPoolExecutor(1, thread_name_prefix="first-load").submit(load, config, trials, quiet=quiet)


def load(
    config: ServerConfig,
    trials: TrialProcesses | None = None,
    kind: Callable[..., Repository] = Repository,
    processes: int = 1,
    shared_weights: Path | None = None,
    quiet: threading.Lock | None = None,
) -> tuple[Repository, str]:
    """Return the loaded repository and a report of its models; raise StartupError if there is nothing to serve.

    With `trials` each version is tried in another process first. `kind` makes the repository, and
    `processes` share the machine, and the weights in a folder. Models are made while nobody else holds `quiet`.
    """
    check_folder(config)
    choice, engine, batch = how_to_run(config, processes)
    engine = replace(engine, shared_weights=shared_weights)
    repository = kind(
        config.folder,
        engine,
        batch,
        newest=config.newest_versions,
        drain_timeout_s=config.drain_timeout_s,
        trials=trials,
        quiet=quiet,
    )
    try:
        repository.load()
        report = _report(repository, choice, engine, batch)
        if not any(summary.latest for summary in repository.summaries()):
            if wrong := _wrong_folder(config.folder):
                raise StartupError(wrong)
            if not config.allow_empty:
                raise StartupError(_nothing_to_serve(config.folder, report))
            report += f"nothing to serve yet: waiting for packages in {config.folder}\n"
    except BaseException as error:
        repository.close()
        if isinstance(error, RequestError):
            raise StartupError(str(error)) from error
        raise
    return repository, report


def how_to_run(config: ServerConfig, processes: int = 1) -> tuple[ProviderChoice, EngineConfig, BatchConfig]:
    """Choose the provider, its parallelism among `processes`, and the sizes of batches; raise ProviderError."""
    choice = choose_provider(config.provider, bfloat16=config.bfloat16)
    sessions = len(config.devices) * config.instances
    workers, threads = choose_parallelism(choice.name, config.workers, config.threads, sessions, processes)
    engine = EngineConfig(
        provider=choice.name,
        threads=threads,
        calls=workers,
        lone_threads=choose_lone_threads(choice.name, config.lone_threads, processes),
        bfloat16=config.bfloat16,
        spinning=config.spinning,
        devices=config.devices,
        instances=config.instances,
        buckets=choose_buckets(choice.name, config.batch_buckets, config.batch_size),
        cuda_graphs=config.cuda_graphs,
        conv_search=config.conv_search,
        conv_layout=config.conv_layout,
        tf32=config.tf32,
        gpu_memory_limit_mib=config.gpu_memory_limit_mib,
    )
    batch = BatchConfig(
        max_batch_size=config.batch_size,
        max_small_batch_size=0 if config.max_batch_size or choice.name in ON_CPU else _SMALL_BATCH_SIZE,
        max_queued_samples=config.max_queued_samples,
        workers=workers,
        queue_delay_s=config.queue_delay_ms / 1e3,
        inline_below_s=INLINE_BELOW_S if choice.name in ON_CPU else 0.0,
    )
    return choice, engine, batch


def _no_folder(config: ServerConfig) -> str:
    is_file = config.folder.exists()
    wait = f" --allow-empty needs an existing folder: create it with `mkdir -p {config.folder}`."
    return (
        f"--models {config.folder}: there is no such folder{' (it is a file)' * is_file}. Write one with "
        f"`ganserve export-onnx RUN --out {config.folder}/NAME`, or try --demo, which needs none."
        f"{wait * (config.allow_empty and not is_file)}"
    )


def _wrong_folder(models: Path) -> str:
    """Suggest another folder if the packages lie one level higher or lower than expected; else return ""."""
    if any(models.glob("*/manifest.json")):
        return f"--models {models}: is one model's folder. Give the folder above it, {models.parent}."
    below = sorted({manifest.parents[2] for manifest in models.glob("*/*/*/manifest.json")})
    if below:
        return f"--models {models}: has no packages, but there are some below. Did you mean {below[0]}?"
    return ""


def _nothing_to_serve(models: Path, report: str) -> str:
    write = f"write a package with `ganserve export-onnx RUN --out {models}/NAME`, or wait for one with --allow-empty"
    found = [line for line in report.splitlines() if line.startswith(("FAILED", "ignored"))]
    return "\n".join([f"there is nothing to serve in {models}: {write}", *found])


def _report(repository: Repository, choice: ProviderChoice, engine: EngineConfig, batch: BatchConfig) -> str:
    """Return one line for the provider, one for the parallelism and one for each version of each model."""
    threads = counted(engine.threads, "CPU thread")
    samples = f"at most {counted(batch.max_batch_size, 'sample')}"
    if batch.max_small_batch_size > batch.max_batch_size:
        samples += f", {batch.max_small_batch_size} small ones"
    lines = [
        f"provider {choice.name} ({choice.reason})",
        f"calls    {batch.workers} at a time, {threads} each, {samples}",
    ]
    for model in repository.summaries():
        lines += [_version(model, version) for version in model.versions]
    lines += [f"ignored  {reason}" for reason in repository.ignored]
    return "".join(f"{line}\n" for line in lines)


def _version(model: gan_service_pb2.ModelSummary, version: gan_service_pb2.VersionSummary) -> str:
    head = f"{model.name} version {version.version}"
    if version.state == gan_service_pb2.MODEL_STATE_FAILED:
        return f"FAILED   {head}: {version.reason}"
    if version.state == gan_service_pb2.MODEL_STATE_LOADING:
        return f"loading  {head}: its trial takes long, the others serve meanwhile"
    if version.state != gan_service_pb2.MODEL_STATE_READY:
        return f"unloaded {head}"
    sample = version.sample
    kind = "images uint8" if sample.kind == model_spec_pb2.SAMPLE_KIND_IMAGE else "vectors float32"
    latest = " (latest)" if version.version == model.latest and len(model.versions) > 1 else ""
    controls = f", controls {', '.join(control.name for control in version.controls)}" if version.controls else ""
    style = f", {version.style.layers} layers of style" if version.HasField("style") else ""
    critic = "" if version.has_critic else ", no critic"
    about = f"{_labels(version.label_names)}{style}{controls}{critic}"
    return f"model    {head}{latest}: {kind} {list(sample.shape)}, {about}"


def _labels(names: Sequence[str]) -> str:
    if not names:
        return "unconditional"
    more = f", … ({len(names)} in all)" if len(names) > _MOST_LABELS else ""
    return f"labels {', '.join(names[:_MOST_LABELS])}{more}"
