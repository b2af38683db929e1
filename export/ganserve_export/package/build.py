"""Build a package: write its graphs, verify them, draw the preview, write the manifest, publish."""

import math
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from torch import Tensor

from ganserve.v1 import model_spec_pb2
from ganserve_export.package.content import GraphToWrite, PackageContent, Published
from ganserve_export.package.manifest import describe_difference, describe_graph, describe_package
from ganserve_export.package.onnx_graphs import open_on_cpu, save
from ganserve_export.package.preview import write_preview
from ganserve_export.package.publishing import check_name, publish, staging_folder
from ganserve_export.package.rows_at_once import batches_to_compare
from ganserve_export.package.truncation import truncation_absence
from ganserve_export.package.verification import BATCH_SIZES, Difference, verify
from ganserve_export.typicality.graph import TYPICALITY, graph_to_write
from ganserve_training.run.command_progress import Steps

GENERATOR, CRITIC, RANKING, PREVIEW = "generator.onnx", "critic.onnx", "typicality.onnx", "preview.png"


def build_package(model_folder: Path, content: PackageContent, steps: Steps) -> Published:
    """Write a package's files, verify and publish them: the next version in `model_folder`, <repository>/<name>.

    Raises:
        ExportError: A graph differs from its original, or the file system refuses. Nothing is published then.
    """
    seed = secrets.randbits(32)  # fresh inputs at each export; an error of the verification names the seed
    critic = None if isinstance(content.critic, str) else content.critic
    values = math.prod(content.data.sample_shape)
    sizes = batches_to_compare(values, BATCH_SIZES)
    with staging_folder(model_folder) as staging:

        def write(
            file: str, graph: GraphToWrite, outputs: tuple[str, ...], scale: Sequence[float] = ()
        ) -> tuple[model_spec_pb2.GraphSpec, Difference]:
            steps.next(f"writing {file}, and comparing it with {graph.original_name}")
            model = graph.make()
            save(model, staging / file)
            spec = describe_graph(file, model)
            del model  # as large as the weights
            difference = verify(
                staging / file,
                graph.original,
                graph.make_inputs,
                outputs,
                seed=seed,
                scale=scale,
                name=graph.original_name,
                is_half=graph.is_half,
                tolerance=graph.tolerance,
                batch_sizes=sizes,
            )
            spec.verification.CopyFrom(describe_difference(difference))
            return spec, difference

        made = ("samples", "used_w") if content.style is not None and content.style.w_dimension else ("samples",)
        generator_spec, difference = write(GENERATOR, content.generator, made, content.data.std)
        critic_spec, critic_difference, ranking_spec, ranking_difference = None, None, None, None
        if critic is not None:
            critic_spec, critic_difference = write(CRITIC, critic.graph, ("scores", "probabilities"))
            if critic.typicality is not None:
                ranking = graph_to_write(critic.typicality, content.data.sample_shape)
                ranking_spec, ranking_difference = write(RANKING, ranking, (TYPICALITY,))
        steps.next("measuring truncation, and drawing the preview")
        absence = ""
        if content.style is None:  # truncation in W always does something
            draw = partial(_draw, open_on_cpu(staging / GENERATOR), bool(content.label_names))
            absence = truncation_absence(draw, content.prior, values)
        label_count = len(content.label_names)
        write_preview(staging / PREVIEW, staging / GENERATOR, content.prior, label_count, content.style)
        spec = describe_package(check_name(model_folder), content, generator_spec, critic_spec, ranking_spec)
        spec.latent.truncation_absence = absence
        return Published(
            folder=publish(staging, model_folder, spec),
            name=spec.name,
            version=spec.version,
            generator=difference,
            critic=critic_difference,
            calibration=critic.calibration if critic is not None and critic.calibration.fitted else None,
            typicality=ranking_difference,
            truncation_absence=absence,
        )


def _draw(session: ort.InferenceSession, has_labels: bool, latents: Tensor) -> npt.NDArray[np.generic]:
    """Run the generator for latents [N, Z], with the first label."""
    feed: dict[str, npt.NDArray[np.generic]] = {"latents": latents.numpy()}
    if has_labels:
        feed["labels"] = np.zeros(len(latents), np.int64)
    samples: npt.NDArray[np.generic] = session.run(None, feed)[0]
    return samples
