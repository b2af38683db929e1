"""Write samples as HTML: pictures as tiles, vectors of two values as points, other vectors as a table."""

# N = samples, H = height, W = width, C = channels, D = values of a vector

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from ganserve import Sample, SampleBatch
from ganserve._marks.files import png_with_xmp
from ganserve._results.pictures import png, to_pil

_SMALL_PX = 64  # smaller pictures are enlarged pixel by pixel
_SHORT_LABEL = 2  # longer labels have a line of their own, above the score
_VALUES_SHOWN = 8
_ROWS_IN_SIGHT = 14  # of the table, without scrolling (page.css: gs-scroll)


def tiles(batch: SampleBatch, order: Sequence[int], ends: tuple[int, int], *, marked: bool = True) -> str:
    """Show the samples of a batch; a visitor may pick two for a walk.

    Args:
        batch: The samples.
        order: Their positions in the batch, in the order to show them.
        ends: The positions of the two picked samples.
        marked: Say in each picture that it is generated, for those who save it.
    """
    if batch.samples.ndim == 2:
        return _points(batch, ends) + _table(batch, order)
    one_label = batch.label_names is None or len(set(batch.label_names)) == 1
    cells = []
    for i in order:
        sample = batch[i]
        cells.append(
            f'<button type="button" class="gs-tile" data-place="{i}" data-pick="{_pick(i, ends)}"'
            f' aria-pressed="{str(i in ends).lower()}"'
            f' aria-label="{escape(_said(i, sample))}" title="{escape(_said(i, sample))}">'
            f"{_sample(sample, marked)}{_caption(sample, one_label)}</button>"
        )
    stacked = "" if one_label or max(map(len, batch.label_names or ("",))) <= _SHORT_LABEL else " gs-stacked"
    return (
        f'<div class="gs-tiles{_size_class(batch)}{stacked}" role="group" aria-label="samples">{"".join(cells)}</div>'
    )


def steps(batch: SampleBatch, *, marked: bool = True) -> str:
    """Show the samples of a walk: the slider's sample large, and all in a row; `marked` as for `tiles`."""
    if batch.samples.ndim == 2:
        return _points(batch, (0, 0), way=True) + _table(batch, range(len(batch)))
    frames = "".join(
        f'<figure class="gs-frame{" gs-on" if i == 0 else ""}" data-step="{i}">{_sample(sample, marked)}'
        f"{_caption(sample, False)}</figure>"
        for i, sample in enumerate(batch)
    )
    small = _size_class(batch)
    return (
        f'<div class="gs-walk{small}"><figure class="gs-large" aria-live="polite">{_sample(batch[0], marked)}'
        f'{_caption(batch[0], False)}</figure><div class="gs-frames">{frames}</div></div>'
    )


def picture(image: npt.NDArray[np.uint8], xmp: bytes | None = None) -> str:
    """Return an <img> of uint8 [H, W, C] with its data, and XMP, inside."""
    file = png(to_pil(image))
    height, width = image.shape[:2]
    encoded = base64.b64encode(file if xmp is None else png_with_xmp(file, xmp)).decode()
    return f'<img src="data:image/png;base64,{encoded}" width="{width}" height="{height}" alt="">'


def _sample(sample: Sample, marked: bool) -> str:
    return picture(sample.image, sample.xmp if marked else None)


def meter(probability: float) -> str:
    """Return a bar as long as a probability."""
    return f'<span class="gs-meter" aria-hidden="true"><i style="width:{100 * probability:.0f}%"></i></span>'


def _caption(sample: Sample, one_label: bool) -> str:
    label = "" if one_label or sample.label_name is None else f"<b>{escape(sample.label_name)}</b>"
    score = "" if sample.score is None else f"<span>{sample.score:+.2f}</span>"
    bar = "" if sample.probability is None else meter(sample.probability)
    return f'<span class="gs-caption">{label}{score}</span>{bar}' if label or score else ""


def _said(place: int, sample: Sample) -> str:
    parts = [f"sample {place}"]
    if sample.label_name is not None:
        parts.append(f"label {sample.label_name}")
    if sample.score is not None and sample.probability is not None:
        parts.append(f"score {sample.score:.3f}, {sample.probability:.0%} likely to be real data")
    return ", ".join(parts)


def _size_class(batch: SampleBatch) -> str:
    return " gs-small" if max(batch.samples.shape[1:3]) <= _SMALL_PX else ""


def _pick(i: int, ends: tuple[int, int]) -> str:
    return "to" if i == ends[1] else "from" if i == ends[0] else ""


def _points(batch: SampleBatch, lit: tuple[int, int], *, way: bool = False) -> str:
    """Show vectors [N, 2] as points, joined if they are a walk; nothing for other vectors."""
    if batch.samples.shape[1] != 2:
        return ""
    low, high = batch.samples.min(0).astype(float), batch.samples.max(0).astype(float)
    span = float(max(high - low)) or 1.0
    at = 8 + 384 * ((batch.samples - (low + high) / 2) / span + 0.5)  # [N, 2], one scale for both axes
    at[:, 1] = 400 - at[:, 1]
    line = ""
    if way:
        line = f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}"/>'
    points = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" data-step="{i}" class="{_lit(i, lit)}">'
        f"<title>{escape(_said(i, batch[i]))}</title></circle>"
        for i, (x, y) in enumerate(at)
    )
    corners = f"{low[0]:.3g} to {high[0]:.3g} across, {low[1]:.3g} to {high[1]:.3g} upwards"
    return (
        f'<figure class="gs-points"><svg viewBox="0 0 400 400" role="img" aria-label="{len(batch)} points">{line}'
        f"{points}</svg><figcaption>{corners}</figcaption></figure>"
    )


def _lit(i: int, lit: tuple[int, int]) -> str:
    return "gs-on" if i in lit else ""


def _table(batch: SampleBatch, order: Sequence[int]) -> str:
    """Show vectors [N, D] as rows of numbers."""
    dimensions = batch.samples.shape[1]
    shown = min(dimensions, _VALUES_SHOWN)
    names = ["sample"] + ["label"] * (batch.label_names is not None) + [f"x{d}" for d in range(shown)]
    names += ["…"] * (dimensions > shown) + ["score"] * (batch.scores is not None)
    rows = []
    for i in order:
        cells = [str(i)] + ([] if batch.label_names is None else [escape(batch.label_names[i])])
        cells += [f"{value:.4g}" for value in batch.samples[i][:shown]]
        cells += ["…"] * (dimensions > shown)
        cells += [] if batch.scores is None else [f"{batch.scores[i]:+.3f}"]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in names)
    count = f'<p class="gs-said">{len(rows)} rows: scroll to see all</p>' if len(rows) > _ROWS_IN_SIGHT else ""
    return f'{count}<div class="gs-scroll"><table class="gs-numbers"><tr>{head}</tr>{"".join(rows)}</table></div>'
