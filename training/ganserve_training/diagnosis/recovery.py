"""Say how a condition ended: the numbers that were bad and are no longer."""

from ganserve_training.diagnosis.findings import Kind
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.rules import reached_regions


def recovery(kind: Kind, now: Observation) -> str:
    """Return one sentence about the look at which a condition counts as gone."""
    quality = "" if now.quality is None else f"{now.quality_name} is {now.quality:.3g}"
    match kind:
        case "vanishing-gradients":
            return f"The gradient that reaches the generated samples is {now.sample_gradient_norm:.1e} again."
        case "no-progress":
            return f"The generated samples move{f', and {quality}' if quality else ''}."
        case "idle-critic":
            return f"The critic is right {now.critic_accuracy:.0%} of the time, with a loss of {now.critic_loss:.3g}."
        case "winning-critic":
            end = f", and {quality}" if quality else ""
            return f"The critic is right on {now.fake_accuracy:.0%} of generated samples{end}."
        case "low-precision":
            return f"Samples lie among real ones {now.precision or 0.0:.0%} as often as other real samples do."
        case "low-recall":
            return f"Real samples lie among generated ones {now.recall or 0.0:.0%} as often as among other real ones."
        case "mode-collapse":
            return (
                f"The generated samples differ from each other {now.diversity:.0%} as much as real samples do, and "
                f"reach {reached_regions(now)}."
            )
        case "ignored-labels":
            return f"The generated samples show their labels {now.label_agreement or 0.0:.0%} as often as real ones."
        case "oscillation":
            return f"The players no longer swing{f', and {quality}' if quality else ''}."
        case "critic-overfitting":
            unseen = "" if now.held_out_accuracy is None else f", and {now.held_out_accuracy:.0%} of held-out ones"
            return f"The critic takes {now.real_accuracy:.0%} of its training samples for real{unseen}."
        case "divergence":
            gap = abs(now.real_score - now.fake_score)
            return f"Scores of real and generated samples are {gap:.3g} apart, and the samples are near the data."
        case "convergence":
            return f"The critic is right {now.critic_accuracy:.0%} of the time{f', and {quality}' if quality else ''}."
        case "decline":
            return f"The quality is close to its best again: {quality}."
