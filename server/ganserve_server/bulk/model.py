"""Load one model for a job, without the rest of the repository."""

from __future__ import annotations

from ganserve_server.allocator import keep_freed_memory
from ganserve_server.error_text import listed
from ganserve_server.errors import BulkError, JobError, PackageError
from ganserve_server.models.folder_scan import scan
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import Package, read_package
from ganserve_server.settings import ServerConfig
from ganserve_server.startup import check_folder, how_to_run


def find_package(config: ServerConfig, name: str | None, version: int | None) -> Package:
    """Return the package of a model in the settings' folder; without a name the only one, else the newest version.

    Raises BulkError or StartupError, which name the flag that is wrong.
    """
    check_folder(config)
    packages = {model: versions for model, versions in scan(config.folder).packages.items() if versions}
    if name is None:
        if len(packages) != 1:
            many = f"has several models: {listed(packages)}. Name one by --model."
            none = "has no models. Write one with `ganserve export-onnx`, or try --demo."
            raise JobError(f"--models {config.folder}: {many if packages else none}")
        name = next(iter(packages))
    if name not in packages:
        raise JobError(f"--model {name}: not in {config.folder}, which has {listed(packages)}. Name one of these.")
    versions = packages[name]
    if version is not None and version not in versions:
        raise JobError(f"--version {version}: model {name} has {listed(versions)}. Give one of these.")
    folder = versions[max(versions) if version is None else version]
    try:
        return read_package(folder)
    except PackageError as error:
        raise BulkError(f"{folder}: {error}") from error


def load_model(config: ServerConfig, package: Package) -> Model:
    """Return the loaded model, and keep freed memory for its samples; raise BulkError or ProviderError."""
    keep_freed_memory(config.memory_limit_mib)
    _, engine, batch = how_to_run(config)
    try:
        return Model(package, engine, batch)
    except PackageError as error:
        raise BulkError(f"model {package.info.name}: {error}") from error
