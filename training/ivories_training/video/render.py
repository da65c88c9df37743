"""Pictures of one room over time: only what a moving key or hand can change is rendered again."""

import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import IS_BLACK, KEYS, WHITE_KEYS
from ivories_training import _native
from ivories_training.video.camera import Float32, Float64
from ivories_training.video.room import Room

UInt8 = NDArray[np.uint8]
HAND = 254
OTHER = 255

_NO_HANDS = np.zeros((0, 8), np.float32)
_CELL_MM = 8.0
_MARGIN_MM = 200.0


class Renderer:
    """Renders a room; ``rest`` is its keyboard with nothing pressed and no hands.

    Args:
        room: what to render.
        mask: (H, W) bool, the pixels somebody will look at; None = all.
        samples: rays per pixel, instead of the room's own number.
    """

    def __init__(self, room: Room, mask: NDArray[np.bool_] | None = None, samples: int | None = None) -> None:
        camera = room.camera
        shape = (camera.height, camera.width)
        self.room = room
        self.samples = samples or room.samples
        self._mask = np.ones(shape, np.uint8) if mask is None else mask.astype(np.uint8)
        self._body = room.body_array()
        self._projection = camera.projection.astype(np.float32)
        self._cell_of_pixel = self._plane_bins()
        rest = np.zeros(shape, np.float32), np.full(shape, OTHER, np.uint8)
        still = np.zeros((self.samples, KEYS), np.float32)
        self.rest, self.rest_label = self._draw(
            rest, self._mask, still, np.broadcast_to(_NO_HANDS, (self.samples, 0, 8))
        )

    def picture(self, dips: Float32, hands: Float32) -> tuple[Float32, UInt8]:
        """Render one exposure.

        Args:
            dips: (samples, 88) mm, over the exposure.
            hands: (samples, n, 8) capsules, likewise.

        Returns:
            (H, W) linear light, and (H, W) what is seen: key, HAND or OTHER.
        """
        dirty = self._mask & self._touched(dips, hands)[self._cell_of_pixel]
        return self._draw((self.rest.copy(), self.rest_label.copy()), dirty, dips, hands)

    def _draw(
        self, canvas: tuple[Float32, UInt8], mask: UInt8, dips: Float32, hands: Float32
    ) -> tuple[Float32, UInt8]:
        _native.render(
            radiance=canvas[0],
            label=canvas[1],
            mask=np.ascontiguousarray(mask),
            projection=self._projection,
            body=self._body,
            keys=self.room.keys,
            dips=np.ascontiguousarray(dips, np.float32),
            hands=np.ascontiguousarray(hands, np.float32),
            lights=self.room.lights,
            width=self.room.camera.width,
            samples=self.samples,
        )
        return canvas

    def _plane_bins(self) -> NDArray[np.int32]:
        """Per pixel, which cell of the plane z = 0 is seen there, counted row by row."""
        camera = self.room.camera
        inverse = np.linalg.inv(camera.projection[:, [0, 1, 3]])
        v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32)
        plane = [row[0] * u + row[1] * v + row[2] for row in inverse]
        far = np.where(np.abs(plane[2]) < 1e-9, 1e-9, plane[2])
        columns, rows = self._cells()
        i = np.clip((plane[0] / far + _MARGIN_MM) / _CELL_MM, 0, columns - 1).astype(np.int32)
        j = np.clip((plane[1] / far + _MARGIN_MM) / _CELL_MM, 0, rows - 1).astype(np.int32)
        return j * columns + i

    def _cells(self) -> tuple[int, int]:
        width = WHITE_KEYS * self.room.body["white_width"] + 2 * _MARGIN_MM
        return int(width / _CELL_MM) + 1, int(
            (self.room.body["white_length"] + 2 * _MARGIN_MM) / _CELL_MM
        ) + 1

    def _touched(self, dips: Float32, hands: Float32) -> UInt8:
        """Return (cells,) 1 where something may differ from the rest picture."""
        boxes = [self._key_boxes(dips)]
        if hands.shape[1]:
            boxes.append(self._hand_boxes(hands))
        columns, rows = self._cells()
        cells = (np.concatenate(boxes) + _MARGIN_MM) / _CELL_MM  # (n, 4) left, top, right, bottom
        limits = (columns, rows, columns, rows)
        left, top, right, bottom = np.clip(np.floor(cells) + np.array([0, 0, 1, 1]), 0, limits).astype(int).T
        edges = np.zeros((rows + 1, columns + 1), np.int32)
        for j, i, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
            np.add.at(edges, (j, i), sign)
        return (edges.cumsum(0).cumsum(1)[:-1, :-1] > 0).astype(np.uint8).ravel()

    def _key_boxes(self, dips: Float32) -> Float64:
        """Return (n, 4) what moving keys can change: themselves, their neighbours' sides, shadows."""
        room, eye = self.room, self.room.camera.eye
        moved = np.flatnonzero(np.abs(dips).max(axis=0) > 1e-3)
        lean = float(np.abs(room.lights[:, 0]).max(initial=0.0))
        x = room.keys[moved, 0].astype(float)
        half = np.where(IS_BLACK[moved], room.body["black_width"], room.body["white_width"]) / 2
        height = room.body["black_height"] + room.white_dip
        reach = half + 9 + height * (lean + np.abs(eye[0] - x) / eye[2])
        ends = np.full_like(x, _MARGIN_MM)
        return np.stack([x - reach, -ends, x + reach, ends + room.body["white_length"]], axis=1)

    def _hand_boxes(self, hands: Float32) -> Float64:
        """Return (n, 4) what hands can change: what they hide, what they darken, their shadows."""
        eye = self.room.camera.eye
        ends = hands[..., :6].reshape(-1, 2, 3).astype(float)
        radius = hands[..., 6].reshape(-1, 1).astype(float)
        z = ends[..., 2:]
        top = np.maximum(z.max(axis=1), 0) + radius + 15
        boxes = []

        def add(places: Float64, grow: Float64) -> None:
            boxes.append(np.concatenate([places.min(axis=1) - grow, places.max(axis=1) + grow], axis=1))

        low = np.minimum(z, 0.8 * eye[2])
        add(
            eye[:2] + (ends[..., :2] - eye[:2]) * eye[2] / (eye[2] - low),
            1.6 * radius * eye[2] / (eye[2] - low.max(1)),
        )
        # Darkening and shadows fall on surfaces up to a black key's height above and a key's travel below the
        # plane, which the camera sees displaced.
        slant = 14 * np.abs(ends[..., :2].mean(axis=1) - eye[:2]) / eye[2]
        add(ends[..., :2], radius + 0.2 * top + 4 + slant)
        for lean_x, lean_y, _, spread in self.room.lights:
            size = float(np.hypot(1.0, np.hypot(lean_x, lean_y)))
            lean = np.array([lean_x, lean_y], float)
            add(ends[..., :2] - lean * z, size * (radius + spread * top * size) + 14 * np.abs(lean) + slant)
        return np.concatenate(boxes)
