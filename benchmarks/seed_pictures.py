"""Join the pictures of the seeds of one preset or method."""

from pathlib import Path

from PIL import Image

GAP = 8


def join_seeds(folder: Path, name: str, *, side_by_side: bool) -> None:
    """Join FOLDER/NAME-SEED.png of all seeds as FOLDER/NAME.png, side by side or one below the other."""
    parts = [Image.open(path) for path in sorted(folder.glob(f"{name}-[0-9]*.png"))]
    if not parts:
        return
    steps = [(part.width + GAP if side_by_side else 0, 0 if side_by_side else part.height + GAP) for part in parts]
    places = [(sum(x for x, _ in steps[:i]), sum(y for _, y in steps[:i])) for i in range(len(parts))]
    whole = Image.new(parts[0].mode, (places[-1][0] + parts[-1].width, places[-1][1] + parts[-1].height), "white")
    for part, place in zip(parts, places, strict=True):
        whole.paste(part, place)
    whole.save(folder / f"{name}.png", optimize=True)
