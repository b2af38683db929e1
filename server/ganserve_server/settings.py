"""The settings of `ganserve serve`: the fields are its flags, their docstrings its help.

`settings_sources` reads them from flags, the environment and a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_BATCH_SIZE = 64
"""Most samples in one model call where nobody says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Serve the GAN model packages of a folder over gRPC, until SIGTERM or Ctrl-C.

    Each setting is also a line of the --config file (max_batch_size = 32) and an environment variable
    (GANSERVE_MAX_BATCH_SIZE=32). A flag beats the environment, which beats the file. A switch that the file turns on
    goes off with --no-…, such as --no-spinning.
    """

    config: Path | None = None
    """TOML file with settings, by the names of the flags with underscores."""
    models: Path = Path("models")
    """Folder of model packages, <name>/<version>/."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 or [::] lets other machines in; calls are neither encrypted nor authenticated."""
    port: int = 50051
    """TCP port. 0: a free one, which is printed."""
    metrics_port: int | None = None
    """TCP port of /metrics, /healthz and /readyz (HTTP, on --host), which are off without it. 0: a free one, which
    is printed."""
    provider: Literal["auto", "cuda", "tensorrt", "cpu"] = "auto"
    """Where models run. auto: on CUDA where that can be had, else on the CPU. cuda, tensorrt: that or nothing."""
    devices: tuple[int, ...] = (0,)
    """GPUs to use, by CUDA's numbers; each holds every model."""
    instances: int = 1
    """Sessions of each graph on each device. On the CPU one serves all workers."""
    workers: int = 0
    """Model calls at a time. 0: on the CPU one for each core, at most 16; on GPUs one for each session."""
    threads: int = 0
    """CPU threads of one model call. 0: the cores shared out among the workers."""
    spinning: bool = False
    """CPU threads of a call burn their cores while they wait for each other: quicker alone, much slower in company."""
    max_batch_size: int = 0
    """Most samples in one model call. 0: 64, and on GPUs 256 of samples of at most 16 KiB."""
    batch_buckets: tuple[int, ...] = ()
    """Batch sizes that calls are padded to; max_batch_size is always one. Without it, on GPUs powers of 4, on the CPU
    any."""
    queue_delay_ms: float = 0.0
    """How long a free worker waits for a model call to become full. 0: it takes at once what waits."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Whether model calls are replayed as CUDA graphs. auto: where all of a graph's nodes run on CUDA."""
    conv_search: Literal["measure", "heuristic", "exhaustive", "default"] = "measure"
    """How cuDNN chooses algorithms. measure: the quicker of heuristic and exhaustive, timed when a model is loaded."""
    conv_layout: Literal["measure", "nchw", "nhwc"] = "measure"
    """How images lie in memory while CUDA computes. measure: the quicker one, timed when a model is loaded."""
    tf32: bool = False
    """Let CUDA round float32 to TF32 inside matrix products and convolutions: quicker, 10 bits of mantissa. Packages of
    float16 have it in any case."""
    gpu_memory_limit_mib: int = 0
    """Most GPU memory of each session's arena. 0: no limit."""
    max_queued_samples: int = 65536
    """Samples that may wait for a model; beyond them, requests are answered RESOURCE_EXHAUSTED."""
    poll_s: float = 2.0
    """Seconds between looks for new, changed and removed packages; while the folder is gone or cannot be read, what is
    loaded serves on. 0: only when AdminService.ReloadRepository asks."""
    allow_empty: bool = False
    """Start with nothing to serve, and be ready once there is: without it, a folder of no models is refused. A folder
    that is not there is refused in any case."""
    newest_versions: int = 0
    """How many of each model's newest versions to load; LoadModel loads others too. 0: all."""
    drain_timeout_s: float = 30.0
    """How long calls that run may take to finish: all of them after SIGTERM, a version's when it is unloaded."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log messages to show, on stderr."""
    log_format: Literal["text", "json"] = "text"
    """json: a JSON object a line, and what is said at start is in the log too, so that nothing else is printed."""
    access_log: Literal["all", "errors", "off"] = "errors"
    """Calls to write a line for. errors: those that fail; of each status ten in a row, then one a second, which counts
    those left out."""

    def __post_init__(self) -> None:
        if self.host == "*":
            raise ValueError("host *: not an address; 0.0.0.0 or [::] lets other machines in")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 to 65535 (got {self.port}); 0 picks a free one")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise ValueError(f"metrics_port must be 0 to 65535 (got {self.metrics_port}); 0 picks a free one")
        if self.metrics_port and self.metrics_port == self.port:
            raise ValueError(f"port and metrics_port must be two ports (got {self.port} for both)")
        if self.workers < 0 or self.threads < 0:
            raise ValueError(
                f"workers and threads must be at least 0 (got {self.workers} and {self.threads}); 0 chooses for you"
            )
        if not self.devices or min(self.devices) < 0 or len(set(self.devices)) < len(self.devices):
            raise ValueError(f"devices must be distinct numbers of at least 0 (got {list(self.devices)})")
        if self.instances < 1:
            raise ValueError(f"instances must be at least 1 (got {self.instances})")
        if any(not 1 <= bucket <= self.batch_size for bucket in self.batch_buckets):
            raise ValueError(
                f"batch_buckets must be 1 to max_batch_size (got {list(self.batch_buckets)} and {self.batch_size})"
            )
        if not 0 <= self.queue_delay_ms <= 60_000:
            raise ValueError(f"queue_delay_ms must be 0 to 60000 (got {self.queue_delay_ms})")
        if self.gpu_memory_limit_mib < 0:
            raise ValueError(f"gpu_memory_limit_mib must be at least 0 (got {self.gpu_memory_limit_mib}); 0: no limit")
        if self.max_batch_size < 0:
            raise ValueError(f"max_batch_size must be at least 1, or 0, which chooses (got {self.max_batch_size})")
        if self.max_queued_samples < self.batch_size:
            raise ValueError(
                f"max_queued_samples must be at least max_batch_size (got {self.max_queued_samples} and "
                f"{self.batch_size})"
            )
        if not self.poll_s >= 0 or self.newest_versions < 0:
            raise ValueError(
                f"poll_s and newest_versions must be at least 0 (got {self.poll_s} and {self.newest_versions})"
            )
        if not self.drain_timeout_s >= 0:
            raise ValueError(f"drain_timeout_s must be at least 0 (got {self.drain_timeout_s})")

    @property
    def batch_size(self) -> int:
        """`max_batch_size`, or what it is by default."""
        return self.max_batch_size or DEFAULT_BATCH_SIZE

    @property
    def address(self) -> str:
        """What to listen on, as HOST:PORT."""
        return f"{self.bracketed_host}:{self.port}"

    @property
    def bracketed_host(self) -> str:
        """The host as it stands before a port: IPv6 addresses in brackets."""
        return f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
