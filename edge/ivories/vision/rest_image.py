"""Time constants of the rest image: the keyboard with nothing pressed, learnt from the stream.

The work is done in C (``rest_image.c``) on the mean picture of every tick.

- Start: per pixel, the level it most often returns to during the first ``start_s`` seconds (half-sample
  mode), so that hands may pass.
- Light: every frame, the medians of the bright and of the dark pixels of the back rows, where hands cover
  least, fit gain and offset of the whole rest image; a step is followed at once, a drift smoothly.
- Following: a pixel near its rest level, unmoved for ``settle_s``, in a block where nothing is pressed or
  covered, is followed with time constant ``follow_s``. A block is busy when more than ``busy_share`` of its
  pixels are ``busy_levels`` away from rest; its neighbours wait with it. So keys held down stay visible.
- Recovery: a pixel takes another level as rest after being unmoved there for ``trust`` times as long as its
  old level was seen, at most ``recover_s``. ``replace_s`` suffices while more than ``scene_share`` of the
  blocks are busy (a lamp was switched).
- Octaves: a block recovers at once where what settles looks like the same key in other octaves and the rest
  does not (a parked hand was learnt), for more than ``ghost_share`` of its pixels and a quarter of those that
  changed; a block that looks unlike them while its rest does not (a hand lies still) takes ``recover_s``.

Levels grow with the noise of the picture.
"""

from dataclasses import dataclass

from ivories.clock import nanoseconds


@dataclass(frozen=True, slots=True)
class RestSpec:
    """Seconds, luma levels (of 255) and shares; see the module's text."""

    tick_s: float = 0.1
    start_s: float = 2.0
    light_s: float = 0.5
    still_levels: int = 4
    near_levels: int = 6
    busy_levels: int = 12
    jump_levels: int = 4
    busy_share: float = 0.03
    scene_share: float = 0.6
    settle_s: float = 0.5
    follow_s: float = 4.0
    trust: int = 2
    recover_s: float = 20.0
    replace_s: float = 1.0
    ghost_share: float = 0.04

    def ticks(self, seconds: float) -> int:
        """Return ``seconds`` in ticks, 1..250."""
        return min(250, max(1, round(seconds / self.tick_s)))

    def native(self) -> tuple[int, ...]:
        """Return the numbers in the order of the C ``rest_spec``, from ``tick_ns`` on."""
        return (
            nanoseconds(self.tick_s),
            nanoseconds(self.start_s),
            nanoseconds(self.light_s),
            self.still_levels,
            self.near_levels,
            self.busy_levels,
            self.jump_levels,
            round(1000 * self.busy_share),
            round(1000 * self.scene_share),
            self.ticks(self.settle_s),
            self.ticks(self.follow_s),
            self.trust,
            self.ticks(self.recover_s),
            self.ticks(self.replace_s),
            round(1000 * self.ghost_share),
        )
