"""Write results, errors and facts about models as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from ganserve import GanserveError, ModelInfo, Score
from ganserve._ui.actions import Drawn, Scored
from ganserve._ui.tiles import meter, picture

_UNLIKE = "unlike the training data"
_REAL = "As real data rather than this generator's samples; a critic knows nothing about other pictures."
_NOT_WHICH = (
    "How real it looks as each label, not which of them it is: scores and probabilities do not compare across labels."
)


def text(plain: str) -> str:
    """Escape plain text."""
    return escape(plain)


def empty(text: str) -> str:
    """Say, in an empty place, what to do to fill it."""
    return f'<p class="gs-empty">{escape(text)}</p>'


def refused(error: GanserveError | OSError) -> str:
    """Show an error with its message."""
    return f'<p class="gs-refused" role="alert">{escape(str(error))}</p>'


def said(*facts: str) -> str:
    """Show a line of facts about an action."""
    return f'<p class="gs-said" role="status">{" <i>·</i> ".join(map(escape, facts))}</p>'


def drawn(result: Drawn) -> str:
    """Show the facts about drawn samples: speed, seed, selection."""
    batch, took_ms = result.batch, max(result.took_ms, 1e-3)
    facts = [
        _count(len(batch), "sample"),
        f"{took_ms:.0f} ms ({1000 * len(batch) / took_ms:,.0f} a second)",
        f"{batch.model} version {batch.version}",
        f"seed {batch.seed}",
    ]
    if batch.selection is not None:
        accepted = batch.selection.accepted
        facts.append(f"chosen from {batch.selection.proposed:,}")
        if accepted < len(batch):
            facts.append(f"{accepted} of them accepted, the others the likeliest")
    return said(*facts)


def legend(info: ModelInfo, result: Drawn) -> str:
    """Explain the number and the bar below each sample; nothing if samples have no scores."""
    if result.batch.scores is None:
        return ""
    within = " within a label" if result.within_labels else ""
    bar = (
        "chance of being real rather than this generator's"
        if info.calibration
        else "the score as 0 to 1, not calibrated"
    )
    return (
        f'<p class="gs-legend"><span><b>+0.00</b> critic\'s score: higher is more real{within}</span> '
        f"<span>{meter(0.6)} {bar}</span></p>"
    )


def walked(result: Drawn, ends: tuple[int, int]) -> str:
    """Show the facts about a walk."""
    return said(
        f"from sample {ends[0]} to sample {ends[1]}",
        _count(len(result.batch), "step"),
        f"{result.took_ms:.0f} ms",
        f"{result.batch.model} version {result.batch.version}",
    )


def scored(result: Scored) -> str:
    """Show the score of one picture, its score under each label, or the scores of a grid's samples."""
    fitted = " It was cut and resized to fit the model." if result.fitted else ""
    if result.each_label or len(result.images) == 1:
        saw = (
            f'<figure class="gs-saw gs-small{" gs-unlike" if result.scores[0].out_of_distribution else ""}">'
            f"{picture(result.images[0])}<figcaption>What the critic saw.{fitted}</figcaption></figure>"
        )
        return f'<div class="gs-scored">{saw}{_verdict(result)}</div>'
    mean, lowest, highest = (f"{float(f(result.scores.scores)):+.3f}" for f in (np.mean, np.min, np.max))
    rows = "".join(
        f'<li{_unlike_class(score)}>{picture(image)}<span class="gs-caption">{_label(score.label)}'
        f"<span>{score.score:+.2f}</span></span>{meter(score.probability)}{_unlike_word(score)}</li>"
        for image, score in zip(result.images, result.scores, strict=True)
    )
    return (
        f'<p class="gs-verdict">{_count(len(result.images), "sample")} of a grid: mean score {mean}, '
        f'{lowest} to {highest}.{_unlike_count(result)}{fitted}</p><ul class="gs-tiles gs-small">{rows}</ul>'
    )


def score_facts(result: Scored) -> str:
    """Show the facts about scores: speed and critic."""
    return said(
        _count(len(result.scores), "score"),
        f"{result.took_ms:.0f} ms",
        f"{result.scores.model} version {result.scores.version}",
    )


def _verdict(result: Scored) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_label(score.label) or "score"}</th><td>{score.score:+.3f}</td>'
        f"<td>{score.probability:.0%}</td><td>{meter(score.probability)}</td></tr>"
        for score in result.scores
    )
    first = result.scores[0]
    if result.each_label:
        verdict, note = f"Under each of {_count(len(result.scores), 'label')}", _NOT_WHICH
    else:
        under = f" as {_label(first.label)}" if first.label is not None else ""
        verdict, note = f"The critic takes it for real{under} with {first.probability:.0%}", _REAL
    if first.out_of_distribution:
        verdict, note = f"This picture is {_UNLIKE}: its score and probability say nothing", _rarity(first)
    head = "<tr><th>label</th><th>score</th><th>real</th><th></th></tr>" if first.label is not None else ""
    table = f'<table class="gs-by-label">{head}{rows}</table>'
    greyed = " gs-unlike" if first.out_of_distribution else ""
    return f'<div><p class="gs-verdict">{verdict}</p><p>{note}</p><div class="gs-scroll{greyed}">{table}</div></div>'


def _rarity(score: Score) -> str:
    """Say how few real pictures lie as far out."""
    return f"At most {score.typicality:.1%} of real pictures lie so far from the training data."


def _unlike_class(score: Score) -> str:
    return ' class="gs-unlike"' if score.out_of_distribution else ""


def _unlike_word(score: Score) -> str:
    return f'<span class="gs-why">{_UNLIKE}</span>' if score.out_of_distribution else ""


def _unlike_count(result: Scored) -> str:
    count = sum(bool(score.out_of_distribution) for score in result.scores)
    return f" {count:,} of them {'is' if count == 1 else 'are'} {_UNLIKE}, where scores say nothing." if count else ""


def facts(info: ModelInfo) -> str:
    """Show a model's description: samples, critic, origin, and how the server runs it."""
    sections = [("What it makes", _makes(info)), ("Its critic", _critic(info)), ("How it runs", _runs(info))]
    sections.append(("Where it came from", _origin(info)))
    return '<div class="gs-facts">' + "".join(_section(title, rows) for title, rows in sections) + "</div>"


def _makes(info: ModelInfo) -> Iterable[tuple[str, str]]:
    yield "model", f"{info.name}, version {info.version}"
    yield "sample", str(info.sample)
    yield "labels", _names(info.label_names) if info.conditional else "none"
    yield "latent", f"{info.latent_dim} values, {info.latent_distribution}"
    if info.style is not None:
        yield "style", f"{info.style.layers} layers, {info.style.w_dimension or 'no access to'} w's"
    if info.controls:
        yield "controls", ", ".join(map(str, info.controls))


def _critic(info: ModelInfo) -> Iterable[tuple[str, str]]:
    if info.critic is None:
        yield "critic", f"none{f': {info.critic_absence}' if info.critic_absence else ''}"
        return
    yield "trained with", info.critic_loss or "unknown"
    yield "takes labels", "yes" if info.critic_takes_labels else "no"
    if info.calibration is not None:
        fitted = f"{info.calibration.real_count} real, {info.calibration.generated_count} generated samples"
        yield "calibrated on", fitted
        yield "log loss", f"{info.calibration.log_loss:.3f} (0.693 is what guessing gets)"
    if info.typicality is None:
        yield "finds pictures unlike the data", "no"
    else:
        ranked = f"ranked among {info.typicality.real_count} real samples"
        yield "finds pictures unlike the data", f"yes, {ranked}, {info.typicality.threshold:.0%} false alarms"


def _runs(info: ModelInfo) -> Iterable[tuple[str, str]]:
    for name, graph in (("generator", info.generator), ("critic", info.critic)):
        if graph is None:
            continue
        yield name, f"{graph.precision}, ONNX opset {graph.opset}"
        if graph.verification is not None:
            worst, tolerance = graph.verification.max_abs_difference, graph.verification.tolerance
            yield f"{name} verified", f"{worst:.2g} from PyTorch at most (allowed {tolerance:.2g})"
    yield "execution", ", ".join(provider.removesuffix("ExecutionProvider") for provider in info.providers) or "unknown"
    yield "largest batch", str(max((engine.max_batch_size for engine in info.engines), default="unknown"))
    yield "size", f"{sum(file.size_bytes for file in info.files) / 2**20:.2f} MiB"


def _origin(info: ModelInfo) -> Iterable[tuple[str, str]]:
    origin = info.provenance
    if origin.created is not None:
        yield "written", f"{origin.created:%Y-%m-%d %H:%M} UTC"
    yield "by", f"ganserve {origin.ganserve_version}"
    if origin.step:
        yield "training step", f"{origin.step:,}"
    for name, value in sorted(origin.metrics.items()):
        yield name, f"{value:.4g}"


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<section><h3>{escape(title)}</h3><dl>{cells}</dl></section>"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} … ({len(names)})" if len(names) > 20 else shown


def _label(label: str | int | None) -> str:
    return "" if label is None else f"<b>{escape(str(label))}</b>"


def _count(n: int, name: str) -> str:
    return f"{n:,} {name}{'' if n == 1 else 's'}"
