"""From linear light to the Y plane of a camera: lens, exposure, noise, tone curve, compression."""

import io
from dataclasses import dataclass, replace
from typing import Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ivories_training.video.camera import Float32

UInt8 = NDArray[np.uint8]
_CURVE_STEPS = 4096


@dataclass(frozen=True, slots=True)
class Sensor:
    """One camera's picture quality over one stretch of time."""

    exposure: float
    """light to full scale"""
    blur: float
    """lens, standard deviation in pixels"""
    vignette: float
    """light lost in the corners, 0..1"""
    gamma: float
    contrast: float
    """S-shape of the tone curve, 0 = none"""
    black: float
    """level of no light, 0..1"""
    read_noise: float
    shot_noise: float
    flicker: float
    """standard deviation of the light from frame to frame"""
    drift: float
    """relative change of the light over the stretch"""
    switched: tuple[float, float] | None
    """a lamp: when (0..1 of the stretch), and what it makes of the light"""
    shadow: tuple[float, float, float, float] | None
    """somebody's shadow: depth, width, start and end across the picture (0..1)"""
    codec: str
    """none, jpeg or h264"""
    quality: int
    """JPEG quality or H.264 constant rate factor"""
    mean_luma: float | None = None
    """what automatic exposure makes of the keyboard, 0..1; None: ``exposure`` was set by hand"""
    highest_luma: float = 1.0
    """where automatic exposure holds the brightest fiftieth of the keyboard, 0..1"""

    def set_for(self, radiance: Float32) -> Self:
        """Return the sensor as its automatic exposure sets it for (H, W) light."""
        if self.mean_luma is None:
            return self
        few = radiance.ravel()[::7]
        curve, top = self.curve().astype(np.float32) / 255, float(np.quantile(few, 0.98))
        low, high = 1e-3 / max(top, 1e-3), 30.0 / max(top, 1e-3)
        for _ in range(14):  # the mean grows with the exposure: halve the interval of its logarithm
            middle = float(np.sqrt(low * high))
            luma = curve[np.clip(few * middle * (_CURVE_STEPS - 1), 0, _CURVE_STEPS - 1).astype(np.int32)]
            if luma.mean() > self.mean_luma or np.quantile(luma, 0.98) > self.highest_luma:
                high = middle
            else:
                low = middle
        return replace(self, exposure=low, mean_luma=None)

    def corrected(self, stops: float) -> Self:
        """Return the sensor with its exposure changed by ``stops``, its gain and so its noise as before."""
        return replace(self, exposure=self.exposure * 2.0**stops)

    def curve(self) -> UInt8:
        """Return the tone curve from light 0..1 in equal steps to luma."""
        light = np.linspace(0, 1, _CURVE_STEPS) ** self.gamma
        shaped = light * light * (3 - 2 * light)
        light = (1 - self.contrast) * light + self.contrast * shaped
        return np.round(255 * (self.black + (1 - self.black) * light)).astype(np.uint8)

    def expose(self, radiance: Float32, progress: float, rng: np.random.Generator) -> UInt8:
        """Return (H, W) luma of (H, W) light, uncompressed; ``progress`` 0..1 through the stretch."""
        height, width = radiance.shape
        light = radiance
        if self.blur > 0.2:
            light = cv2.GaussianBlur(light, (0, 0), self.blur)
        x = np.linspace(-1, 1, width, dtype=np.float32)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        change = 1 + self.drift * progress + self.flicker * float(rng.standard_normal())
        if self.switched is not None and progress >= self.switched[0]:
            change *= self.switched[1]
        columns = (1 - self.vignette * 0.8 * x * x) * np.float32(self.exposure * change)
        if self.shadow is not None:
            strength, span, begin, end = self.shadow
            place = begin + (end - begin) * progress
            columns = columns * (1 - strength / (1 + np.exp((np.abs(x - place) - span) * 12)))
        light = light * columns.astype(np.float32) * (1 - self.vignette * 0.2 * y * y)
        noise = rng.standard_normal(light.shape, np.float32)
        light += noise * np.sqrt(self.read_noise**2 + self.shot_noise**2 * np.maximum(light, 0))
        step = np.clip(light * np.float32(_CURVE_STEPS - 1), 0, _CURVE_STEPS - 1).astype(np.int32)
        return self.curve()[step]

    def compress(self, pictures: list[UInt8]) -> list[UInt8]:
        """Return the pictures as a decoder gives them back."""
        if self.codec == "jpeg":
            options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
            return [cv2.imdecode(cv2.imencode(".jpg", p, options)[1], cv2.IMREAD_GRAYSCALE) for p in pictures]
        if self.codec == "h264":
            return _through_h264(pictures, self.quality)
        return pictures


def random_sensor(rng: np.random.Generator, white: float) -> Sensor:
    """Draw a sensor whose exposure was set by hand for white keys that shine with ``white`` light."""
    dim = rng.random() < 0.22
    level = rng.uniform(0.06, 0.35) if dim else rng.uniform(0.4, 1.25)
    noisy = rng.choice([rng.uniform(0, 0.006), rng.uniform(0.006, 0.03)], p=[0.7, 0.3])
    shadow = None
    if rng.random() < 0.15:
        shadow = tuple(
            float(v) for v in (rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.6), *rng.uniform(-1.3, 1.3, 2))
        )
    codec = str(rng.choice(["none", "jpeg", "h264"], p=[0.25, 0.35, 0.4]))
    return Sensor(
        exposure=float(level / max(white, 1e-3)),
        blur=float(rng.choice([0.0, rng.uniform(0.3, 1.3)], p=[0.4, 0.6])),
        vignette=float(rng.uniform(0, 0.45)),
        gamma=float(rng.uniform(0.42, 1.05)),
        contrast=float(rng.choice([0.0, rng.uniform(0, 0.6)])),
        black=float(rng.uniform(0, 0.08)),
        read_noise=float(noisy * 0.6),
        shot_noise=float(noisy),
        flicker=float(rng.choice([0.0, rng.uniform(0, 0.025)], p=[0.75, 0.25])),
        drift=float(rng.choice([0.0, rng.normal(0, 0.1)], p=[0.8, 0.2])),
        switched=None,
        shadow=shadow,  # type: ignore[arg-type]
        codec=codec,
        quality=int(rng.integers(18, 33)) if codec == "h264" else int(rng.integers(40, 96)),
    )


def automatic(sensor: Sensor, rng: np.random.Generator) -> Sensor:
    """Return the sensor with an automatic exposure.

    It means well with the whole picture, of which the keyboard is but a part: with much darkness around it
    the white keys come out too bright, where the camera does not hold its highlights.
    """
    share, around = rng.uniform(0.35, 1.0), rng.uniform(0.05, 0.6)
    mean = float(np.clip((rng.uniform(0.35, 0.55) - (1 - share) * around) / share, 0.2, 0.85))
    gain = float(rng.uniform(1.0, 2.5))  # and the noise that comes with it
    return replace(
        sensor,
        mean_luma=mean,
        highest_luma=float(rng.choice([1.0, rng.uniform(0.75, 0.97)], p=[0.2, 0.8])),
        read_noise=sensor.read_noise * gain,
        shot_noise=sensor.shot_noise * gain,
    )


def _through_h264(pictures: list[UInt8], rate_factor: int) -> list[UInt8]:
    """Encode and decode the pictures as one H.264 stream."""
    height, width = pictures[0].shape
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format="h264") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {
            "preset": "veryfast",
            "crf": str(rate_factor),
            "tune": "zerolatency",
            "threads": "1",
        }
        grey = np.full((height // 2, width), 128, np.uint8)
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.concatenate([picture, grey]), format="yuv420p")
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    stream_bytes.seek(0)
    with av.open(stream_bytes, "r", format="h264") as container:
        decoded = [np.ascontiguousarray(f.to_ndarray(format="gray8")) for f in container.decode(video=0)]
    return decoded if len(decoded) == len(pictures) else pictures
