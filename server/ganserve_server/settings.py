"""The settings of `ganserve serve`: the fields are its flags, their docstrings its help.

`settings_sources` reads them from flags, the environment and a file.
"""

import math
import re
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from ganserve_server.demo import MODELS as DEMO_MODELS

MOVABLE = ("admin", "open_inference", "reflection")
"""Parts of the server that can be switched off, or moved to an address of their own."""
MOST_PROCESSES = 256
"""Most server processes on one port."""
DEFAULT_BATCH_SIZE = 64
"""Most samples in one model call by default."""
_ADDRESS = re.compile(r"(?:[^:\s\[\]]+|\[[0-9A-Fa-f:.%]+\]):\d{1,5}")
_WITH_PORT = re.compile(r"(?!unix:)(\[[^\]]*\]|[^:\[\]]+):(\d+)")
_COLLECTOR, _LIKE = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?"), "http://127.0.0.1:4317"
_MOST_MESSAGE_MIB = 2**11 - 2
_MOST_SECONDS = 10**6  # gRPC counts milliseconds in 32 bits
_MOST_COUNT = 2**31 - 1
_GPU_ONLY = ("devices", "cuda_graphs", "conv_search", "conv_layout", "tf32", "gpu_memory_limit_mib")
_IGNORED_BY = {"cpu": _GPU_ONLY, "openvino": (*_GPU_ONLY, "spinning")}
_RANGES = (  # setting, least, most, advice
    ("port", 0, 65535, " 0 picks a free one."),
    ("metrics_port", 0, 65535, " 0 picks a free one."),
    ("workers", 0, math.inf, " 0 chooses for you."),
    ("threads", 0, math.inf, " 0 chooses for you."),
    ("lone_threads", 0, math.inf, " 0: all cores."),
    ("instances", 1, math.inf, ""),
    ("queue_delay_ms", 0, 60_000, ""),
    ("gpu_memory_limit_mib", 0, math.inf, " 0: no limit."),
    ("max_batch_size", 0, math.inf, " 0 chooses for you."),
    ("max_request_mib", 1, _MOST_MESSAGE_MIB, " gRPC's messages hold less than 2 GiB."),
    ("memory_limit_mib", 0, math.inf, " 0 finds it out."),
    ("stall_timeout_s", 1, math.inf, ""),
    ("max_connections", 0, _MOST_COUNT, " 0 chooses for you."),
    ("max_connection_calls", 1, _MOST_COUNT, ""),
    ("max_caller_calls", 1, _MOST_COUNT, ""),
    ("max_answer_mib", 1, _MOST_MESSAGE_MIB, " gRPC's messages hold less than 2 GiB."),
    ("poll_s", 0, math.inf, ""),
    ("newest_versions", 0, math.inf, ""),
    ("load_timeout_s", 1, math.inf, ""),
    ("load_memory_mib", 0, math.inf, " 0 chooses for you."),
    ("max_connection_age_s", 0, _MOST_SECONDS, " 0: never."),
    ("max_connection_age_grace_s", 0, _MOST_SECONDS, " 0: as long as they need."),
    ("drain_delay_s", 0, math.inf, ""),
    ("drain_timeout_s", 0, math.inf, ""),
    ("trace_ratio", 0, 1, ""),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """Serve the GAN model packages of a folder over gRPC, until SIGTERM or Ctrl-C.

    Each setting is also a line of the --config file (max_batch_size = 32) and an environment variable
    (GANSERVE_MAX_BATCH_SIZE=32). A flag overrides the environment, which overrides the file.
    """

    config: Path | None = None
    """TOML file with settings, named like the flags with underscores."""
    models: Path = Path("models")
    """Folder of model packages, <name>/<version>/."""
    demo: bool = False
    """Serve the model that comes with ganserve, handwritten digits, in place of --models."""
    host: str = "127.0.0.1"
    """Address to listen on, or unix:PATH for a Unix socket. 0.0.0.0 or [::] lets other machines in, which needs
    encryption and identities, or --insecure."""
    port: int = 50051
    """TCP port. 0: a free one; the server prints it."""
    metrics_port: int | None = None
    """TCP port of /metrics, /healthz and /readyz: HTTP, or HTTPS with --tls-certificate. Without it they are off. 0: a
    free one; the server prints it."""
    metrics_host: str | None = None
    """Address of --metrics-port. Without it, that of --host, or 127.0.0.1 beside a Unix socket."""
    insecure: bool = False
    """Let other machines in without encryption or without identities: whoever reaches the port may call everything."""
    admin: str = "on"
    """AdminService, and loading of models by the Open Inference Protocol. off: refuse its calls. HOST:PORT: answer them
    only there."""
    open_inference: str = "on"
    """The Open Inference Protocol: on, off, or HOST:PORT."""
    reflection: str = "on"
    """Server reflection, which describes the protocol: on, off, or HOST:PORT."""
    tls_certificate: Path | None = None
    """PEM file with the server's certificate and those of the authorities below the root. With it, calls and the HTTP
    port are encrypted by TLS 1.2 or 1.3; a changed file is used for new connections within two seconds."""
    tls_key: Path | None = None
    """PEM file with the private key of --tls-certificate."""
    tls_client_ca: Path | None = None
    """PEM file with the authorities of clients. With it, only clients whose certificate one of them signed can
    connect."""
    identities: Path | None = None
    """TOML file of callers: their tokens, issuers of JWTs and certificates, what each may do, and quotas. With it, the
    server answers only callers that it knows; a changed file counts within two seconds."""
    open_health: bool = True
    """Let callers that the server does not know ask for its health: grpc.health.v1, /healthz and /readyz, and the Open
    Inference Protocol's. They see no model."""
    mark_pictures: bool = True
    """Say in PNG, JPEG and WebP files that they are generated, and by which model, version, package, seed, index and
    label, as XMP."""
    c2pa_certificate: Path | None = None
    """PEM file with a certificate for C2PA and those of the authorities below the root. With it, picture files have a
    signed C2PA manifest, too (needs the extra c2pa)."""
    c2pa_key: Path | None = None
    """PEM file with the private key of --c2pa-certificate."""
    provider: Literal["auto", "cuda", "tensorrt", "openvino", "cpu"] = "auto"
    """Execution provider. auto: CUDA if available, else onnxruntime on the CPU. cuda, tensorrt: refuse to start without
    it. openvino: OpenVINO on the CPU, whose samples differ in a level of 255 here and there."""
    bfloat16: bool = False
    """Let OpenVINO compute samples in bfloat16 (7 bits of mantissa): up to twice as fast, and samples differ by a few
    levels of 255. Scores stay in float32."""
    processes: int | Literal["auto"] = 1
    """Server processes on the port, which are one server and share its limits (Linux, TCP). Several use more cores for
    small requests. auto: as many as requests need beside the model's calls, by a measurement at the start."""
    devices: tuple[int, ...] = (0,)
    """GPUs to use, by CUDA's numbers; each loads every model."""
    instances: int = 1
    """Sessions of each graph on each device. On the CPU one serves all workers."""
    workers: int = 0
    """Concurrent model calls. 0: on the CPU one for each core, at most 16; on GPUs one for each session."""
    threads: int = 0
    """CPU threads of one model call. 0: cores divided by workers."""
    lone_threads: int = 0
    """Most CPU threads of a model call that runs alone. 0: all cores. Used where that is measured to be faster when a
    model is loaded, for which its weights are kept twice. 1: never."""
    spinning: bool = False
    """Let the CPU threads of a call spin while they wait for each other: faster on an idle machine, much slower on a
    busy one."""
    max_batch_size: int = 0
    """Most samples in one model call. 0: 64; on GPUs 256 if a sample has at most 16 KiB."""
    batch_buckets: tuple[int, ...] = ()
    """Batch sizes that calls are padded to; max_batch_size is always one. Without it: powers of 4 on GPUs, any size on
    the CPU."""
    queue_delay_ms: float = 0.0
    """Longest wait of a free worker for a full model call. 0: start at once with the waiting requests."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Replay model calls as CUDA graphs. auto: if all nodes of a model's graph run on CUDA."""
    conv_search: Literal["measure", "heuristic", "exhaustive", "default"] = "measure"
    """Choice of algorithms by cuDNN. measure: time heuristic and exhaustive when a model is loaded, and take the faster
    one."""
    conv_layout: Literal["measure", "nchw", "nhwc"] = "measure"
    """Memory layout of images on CUDA. measure: time both when a model is loaded, and take the faster one."""
    tf32: bool = False
    """Let CUDA round float32 to TF32 (10 bits of mantissa) in matrix products and convolutions: faster. float16
    packages always do."""
    gpu_memory_limit_mib: int = 0
    """Most GPU memory for each session. 0: no limit."""
    max_queued_samples: int = 65536
    """Most samples that may wait for a model; further requests get RESOURCE_EXHAUSTED."""
    max_request_mib: int = 16
    """Largest request, and largest message of a stream of requests; larger ones get RESOURCE_EXHAUSTED. Streams carry
    any number of pictures."""
    max_answer_mib: int = 64
    """Largest answer with samples; larger ones are refused. Streams carry any number of samples."""
    memory_limit_mib: int = 0
    """Most memory of the process. Requests, and their answers until they are read, share what the models leave; beyond
    it they get RESOURCE_EXHAUSTED. 0: nine tenths of what the control group or the machine has."""
    stall_timeout_s: float = 60.0
    """Longest time that a request may take to arrive, and an answer may wait to be read; then its client is cut off."""
    max_connections: int = 0
    """Most open connections; further ones are closed. 0: one for each 256 KiB of the memory limit, at most 10,000."""
    max_connection_calls: int = 256
    """Most running calls of one connection, streams included; further ones wait at the client."""
    max_caller_calls: int = 4096
    """Most running calls of one caller, an address, over all of its connections; further ones get
    RESOURCE_EXHAUSTED."""
    poll_s: float = 2.0
    """Seconds between checks for new, changed and removed packages. While the folder is missing or unreadable, loaded
    models stay in service. 0: check only on AdminService.ReloadRepository."""
    allow_empty: bool = False
    """Start although the folder has no models, and become ready with the first one. The folder itself must exist."""
    newest_versions: int = 0
    """Load this many of each model's newest versions; LoadModel loads others. 0: all."""
    load_timeout_s: float = 120.0
    """Seconds for the trial of a version, in a process of its own, before it is loaded; longer ones fail."""
    load_memory_mib: int = 0
    """Most memory of a trial. 0: half of what the control group or the machine has."""
    max_connection_age_s: float = 0.0
    """Seconds after which a client is told to connect again, so that connections spread over new servers. 0: never."""
    max_connection_age_grace_s: float = 0.0
    """Seconds that the calls of such a connection may still take. 0: as long as they need."""
    drain_delay_s: float = 0.0
    """Seconds after SIGTERM in which the server reports NOT_SERVING and still answers, until load balancers notice."""
    drain_timeout_s: float = 30.0
    """Seconds that running calls have to finish, after SIGTERM or when their version is unloaded."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log messages to write to stderr."""
    log_format: Literal["text", "json"] = "text"
    """json: one JSON object a line, the start report included; nothing else is printed."""
    access_log: Literal["all", "errors", "off"] = "errors"
    """Calls to log. errors: failed ones; ten of each status in a row, then one a second with the number left out."""
    otlp_endpoint: str | None = None
    """OpenTelemetry collector that gets the traces of calls, such as http://127.0.0.1:4317 (needs the extra `otel`).
    Without it, or OTEL_EXPORTER_OTLP_ENDPOINT, there are none, and nothing leaves the machine."""
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    """Protocol of --otlp-endpoint. Collectors take grpc on port 4317 and http on port 4318."""
    trace_ratio: float | None = None
    """Share of calls to trace, 0 to 1, among those whose client sends no traceparent; it decides about its own. Without
    it, OTEL_TRACES_SAMPLER decides, else all are traced."""

    def __post_init__(self) -> None:
        if self.demo and self.models != Path("models"):
            raise ValueError(f"--demo: serves its own model, --models {self.models} names others. Leave out either.")
        if self.host == "unix:":
            raise ValueError("--host unix:: has no path. Give one, such as unix:/run/ganserve/socket.")
        if self.host == "*":
            raise ValueError("--host *: not an address. 0.0.0.0 or [::] lets other machines in.")
        for flag, host in (("host", self.host), ("metrics-host", self.metrics_host)):
            if found := _WITH_PORT.fullmatch(host or ""):
                port = flag.replace("host", "port")
                raise ValueError(f"--{flag} {host}: has a port. Give --{flag} {found[1]} --{port} {found[2]}.")
        if self.tls_certificate is None and (given := self.tls_key or self.tls_client_ca):
            flag = "--tls-key" if self.tls_key is not None else "--tls-client-ca"
            raise ValueError(f"{flag} {given}: needs --tls-certificate. Give both, or neither.")
        if self.tls_certificate is not None and self.tls_key is None:
            raise ValueError(f"--tls-certificate {self.tls_certificate}: needs its private key. Give it by --tls-key.")
        self._check_companions()
        self._check_marking()
        self._check_processes()
        for name in MOVABLE:
            value = getattr(self, name)
            if value not in ("on", "off") and not _ADDRESS.fullmatch(value):
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} {value}: not on, off or an address. Write it like 127.0.0.1:50052.")
        if self.otlp_endpoint is not None and not _COLLECTOR.fullmatch(self.otlp_endpoint):
            raise ValueError(f"--otlp-endpoint {self.otlp_endpoint}: not an address. Write it like {_LIKE}.")
        for name, least, most, advice in _RANGES:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                expected = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise ValueError(f"--{name.replace('_', '-')} {value}: must be {expected}.{advice}")
        if self.metrics_port and self.metrics_port == self.port:
            raise ValueError(f"--metrics-port {self.port}: is also --port, that of the calls. Give another one.")
        self._check_provider()
        if not self.devices or min(self.devices) < 0 or len(set(self.devices)) < len(self.devices):
            raise ValueError(f"--devices {' '.join(map(str, self.devices))}: must be distinct numbers of at least 0.")
        most, queued = self.batch_size, self.max_queued_samples
        for bucket in self.batch_buckets:
            if not 1 <= bucket <= most:
                raise ValueError(f"--batch-buckets {bucket}: must be 1 to --max-batch-size, which is {most}.")
        if queued < most:
            raise ValueError(f"--max-queued-samples {queued}: must be at least --max-batch-size, which is {most}.")

    def _check_provider(self) -> None:
        """Refuse options that the provider would ignore."""
        if self.bfloat16 and self.provider != "openvino":
            raise ValueError("--bfloat16: needs OpenVINO. Add --provider openvino.")
        if self.batch_buckets and self.provider == "openvino":
            buckets = " ".join(map(str, self.batch_buckets))
            raise ValueError(f"--batch-buckets {buckets}: OpenVINO runs calls of any size. Leave it out.")
        for name in _IGNORED_BY.get(self.provider, ()):
            value, default = getattr(self, name), _DEFAULTS[name]
            if value not in (default, "off"):  # CUDA graphs are off there
                given = "" if value is True else f" {_shown(value)}"
                problem = f"has no effect with --provider {self.provider}"
                raise ValueError(f"--{name.replace('_', '-')}{given}: {problem}. Leave it out.")

    def on_cpu(self) -> Self:
        """Return these settings for onnxruntime on the CPU."""
        others = {name: _DEFAULTS[name] for name in (*_GPU_ONLY, "bfloat16")}
        return replace(self, provider="cpu", **others)

    def without_http(self) -> Self:
        """Return these settings for one process without a port for metrics and probes."""
        return replace(self, processes=1, metrics_port=None, metrics_host=None)

    def _check_companions(self) -> None:
        """Refuse settings that do nothing without others."""
        if self.metrics_host is not None and self.metrics_port is None:
            raise ValueError(f"--metrics-host {self.metrics_host}: needs --metrics-port. Give both, or neither.")
        if not self.open_health and self.identities is None and self.tls_client_ca is None:
            raise ValueError("--no-open-health: everybody may call this server. Add --identities or --tls-client-ca.")
        if self.max_connection_age_grace_s and not self.max_connection_age_s:
            grace = f"--max-connection-age-grace-s {self.max_connection_age_grace_s:g}"
            raise ValueError(f"{grace}: needs --max-connection-age-s. Give both, or neither.")

    def _check_marking(self) -> None:
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            given, other = ("certificate", "key") if self.c2pa_key is None else ("key", "certificate")
            value = self.c2pa_certificate or self.c2pa_key
            raise ValueError(f"--c2pa-{given} {value}: needs --c2pa-{other}. Give both, or neither.")
        if self.c2pa_certificate is not None and not self.mark_pictures:
            raise ValueError(
                f"--c2pa-certificate {self.c2pa_certificate}: signs marks, and --no-mark-pictures switches them off. "
                "Leave out either."
            )

    def _check_processes(self) -> None:
        if self.processes in ("auto", 1):
            return
        flag = f"--processes {self.processes}"
        if not 1 <= int(self.processes) <= MOST_PROCESSES:
            raise ValueError(f"{flag}: must be auto, or 1 to {MOST_PROCESSES}.")
        if sys.platform != "linux":
            raise ValueError(f"{flag}: only Linux shares a port's connections out among processes. Leave it out.")
        if self.host.startswith("unix:"):
            raise ValueError(f"{flag}: needs TCP, and --host {self.host} is a Unix socket. Leave one out.")
        for name in ("max_connections", "max_caller_calls"):
            value = getattr(self, name)
            if 0 < value < int(self.processes):
                raise ValueError(f"--{name.replace('_', '-')} {value}: must be at least {flag}, which share it.")

    @property
    def folder(self) -> Path:
        """Folder of the models to serve."""
        return DEMO_MODELS if self.demo else self.models

    @property
    def batch_size(self) -> int:
        """`max_batch_size`, or its default."""
        return self.max_batch_size or DEFAULT_BATCH_SIZE

    @property
    def address(self) -> str:
        """Address to listen on, as HOST:PORT or unix:PATH."""
        if self.host.startswith("unix:"):
            return self.host
        return f"{self.bracketed_host}:{self.port}"

    @property
    def http_host(self) -> str:
        """Address of the metrics and probes."""
        return self.metrics_host or ("127.0.0.1" if self.host.startswith("unix:") else self.host)

    @property
    def bracketed_host(self) -> str:
        """The host as written before a port: IPv6 addresses in brackets."""
        return bracketed(self.host)


_DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(ServerConfig)}


def bracketed(host: str) -> str:
    """Return a host as written before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """The settings and their sources."""

    config: ServerConfig
    sources: dict[str, str]
    """The flag, variable or file of each value that is not the default."""

    def report(self) -> str:
        """Return a line for each value that is not the default, with its source, and one line for the defaults."""
        values = {name: _shown(value) for name, value in asdict(self.config).items()}
        lines = [f"config   {name} = {values.pop(name)} ({source})" for name, source in self.sources.items()]
        defaults = ", ".join(f"{name} = {value}" for name, value in values.items())
        return "".join(f"{line}\n" for line in [*lines, f"default  {defaults}"])


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
