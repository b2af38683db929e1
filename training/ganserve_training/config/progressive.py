"""Progressive growing (Karras et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from ganserve_training.config._checks import expect


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressiveConfig:
    """When the progressive architecture grows: each level fades in, then trains in full; levels start at 4 x 4."""

    fade_kimg: float = 600.0
    """Thousand real samples over which a new level is faded in."""
    stable_kimg: float = 600.0
    """Thousand real samples for which a level trains in full before the next one."""
    batch_sizes: tuple[int, ...] = ()
    """Batch size of each level from 4 x 4 up, in place of batch_size; empty: batch_size at every level. On the command
    line --batch-size takes the place of a preset's."""

    def __post_init__(self) -> None:
        expect(self.fade_kimg > 0.0, "progressive.fade_kimg", self.fade_kimg, "positive")
        expect(self.stable_kimg > 0.0, "progressive.stable_kimg", self.stable_kimg, "positive")
        expect(
            all(size >= 1 for size in self.batch_sizes), "progressive.batch_sizes", self.batch_sizes, "all at least 1"
        )
