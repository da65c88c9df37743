"""The demo take: a small piece, filmed by the renderer, with its sound and its exact truth."""

import json
import subprocess
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import mido
import numpy as np
import soundfile
from numpy.typing import NDArray

from ivories.errors import SourceError
from ivories.keyboard import NOTE_NAMES, key_of_pitch
from ivories_training.performances import NOTE
from ivories_training.video.camera import Mount, place
from ivories_training.video.film import Film, scene_calibration
from ivories_training.video.hands import Hand, random_look
from ivories_training.video.motion import Strokes, strokes_of
from ivories_training.video.room import Room, random_room
from ivories_training.video.sensor import Sensor

RATE = 30
SOUND_RATE = 44_100
LENGTH_S = 15.0
_BEGIN_S = 2.4
_BEAT_S = 0.5
_TICKS = 960  # per beat
_SEED = 4711

# One line per hand and bar of four beats: velocity, then "pitches:beats"; a dot is silence.
_RIGHT = (
    (34, "E5:1 G5:.5 A5:.5 B5:1.5 A5:.5"),
    (46, "G5:1 E5:.5 D5:.5 C5:1.5 .:.5"),
    (66, "D5+F5:.5 E5+G5:.5 F5+A5:.5 G5+B5:.5 A5+C6:1 D6:1"),
    (88, "C5+C6:1 B4+B5:.5 A4+A5:.5 G#4+G#5:1 E5:.25 E5:.25 E5:.25 F#5:.25"),
    (112, "A4+C5+E5+A5:1.5 A#4+D5+F5+A#5:.5 A4+C5+E5+A5:1 G#4+B4+E5:1"),
    (28, "A4:.5 C5:.5 E5:.5 A5:.5 C6:.5 E6:.5 A6:1"),
)
_LEFT = (
    (28, "A2:.5 E3:.5 C4:1 E3:1 C4:1"),
    (38, "F2:.5 C3:.5 A3:1 F3:1 C3:1"),
    (58, "D3+A3+C4:1 D3+A3+C4:1 G2+D3+B3:1 G2+D3:1"),
    (80, "A1+A2:1.5 G1+G2:.5 E1+E2:1 E3:.5 B2:.5"),
    (108, "D2+D3:1.5 D2+D3:.5 E2+E3:1 E1+B1+E2:1"),
    (32, "A1:1 E2:1 A0:2"),
)


def _pitch(name: str) -> int:
    return NOTE_NAMES.index(name[:-1]) + 12 * (int(name[-1]) + 1)


def _hand_notes(bars: tuple[tuple[int, str], ...]) -> list[tuple[float, float, int, int]]:
    """Return (onset_s, offset_s, key, velocity), a little detached, all on MIDI ticks."""
    tick = _BEAT_S / _TICKS
    notes = []
    for bar, (velocity, text) in enumerate(bars):
        beat = 4.0 * bar
        for n, word in enumerate(text.split()):
            names, _, length = word.partition(":")
            begin = _BEGIN_S + beat * _BEAT_S
            end = begin + (0.88 * float(length)) * _BEAT_S
            for voice, name in enumerate(names.split("+") if names != "." else []):
                at = round((begin + 0.006 * voice) / tick) * tick  # a chord is never struck quite at once
                loud = velocity + (4 if n == 0 else 0) + 3 * (n % 2) - 2 * voice
                notes.append((at, round(end / tick) * tick, key_of_pitch(_pitch(name)), loud))
            beat += float(length)
    return notes


def piece() -> tuple[NDArray[np.void], NDArray[np.void], list[tuple[float, float]]]:
    """Return the left and the right hand's notes (``performances.NOTE``), and the pedal's (down_s, up_s)."""
    hands = []
    for bars in (_LEFT, _RIGHT):
        rows = sorted(_hand_notes(bars))
        hands.append(np.array([(on, off, off, key, velocity) for on, off, key, velocity in rows], NOTE))
    bar_s = 4 * _BEAT_S
    pedal = [(_BEGIN_S + i * bar_s + 0.08, _BEGIN_S + (i + 1) * bar_s - 0.06) for i in (0, 1, 4, 5)]
    return hands[0], hands[1], pedal


def write_midi(notes: NDArray[np.void], pedal: list[tuple[float, float]], path: Path) -> None:
    """Write the notes and the pedal as a MIDI file."""
    per_second = _TICKS / _BEAT_S
    events: list[tuple[int, int, mido.Message]] = []
    for note in notes:
        pitch = int(note["key"]) + 21
        on, off = round(note["onset_s"] * per_second), round(note["offset_s"] * per_second)
        events.append((on, 1, mido.Message("note_on", note=pitch, velocity=int(note["velocity"]))))
        events.append((off, 0, mido.Message("note_off", note=pitch, velocity=0)))
    for down, up in pedal:
        for at, value in ((down, 127), (up, 0)):
            events.append(
                (round(at * per_second), 2, mido.Message("control_change", control=64, value=value))
            )
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=round(_BEAT_S * 1e6))])
    now = 0
    for at, _, message in sorted(events, key=lambda e: e[:2]):
        track.append(message.copy(time=at - now))
        now = at
    mido.MidiFile(ticks_per_beat=_TICKS, tracks=[track]).save(path)


def _sound(midi: Path, soundfont: Path) -> NDArray[np.float32]:
    """Return mono samples of LENGTH_S seconds; raises SourceError without FluidSynth or soundfont."""
    if not soundfont.is_file():
        raise SourceError(f"no soundfont at {soundfont}: name an SF2 file")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "take.wav"
        command = [
            "fluidsynth",
            "-ni",
            "-q",
            "-r",
            str(SOUND_RATE),
            "-g",
            "0.7",
            "-F",
            str(wav),
            str(soundfont),
            str(midi),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - a fixed program
        except (OSError, subprocess.CalledProcessError) as error:
            raise SourceError(f"fluidsynth could not play {midi}: {error}") from error
        samples, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    whole = np.zeros(round(LENGTH_S * SOUND_RATE), np.float32)
    whole[: min(len(mono), len(whole))] = mono[: len(whole)]
    return whole


def _scene() -> tuple[Room, Sensor]:
    rng = np.random.default_rng(_SEED)
    room = random_room(rng)
    body = room.body | {
        "white_albedo": 0.8, "front_albedo": 0.7, "black_albedo": 0.035, "fallboard_height": 40.0,
        "fallboard_albedo": 0.04, "slip_albedo": 0.06, "cheek_albedo": 0.05, "cheek_width": 40.0,
        "floor_albedo": 0.12, "floor_contrast": 1.0, "body_back": -110.0,
    }  # fmt: skip
    mount = Mount(
        640, 480, elevation=58, azimuth=3, roll=-1.2, field_of_view=56, fill=0.92, centre=(0.5, 0.44)
    )
    camera = place(mount, body["white_width"], body["white_length"])
    lights = np.array([[-0.5, 0.35, 0.62, 0.12], [0.7, -0.2, 0.2, 0.2]], np.float32)
    body["ambient"] = 0.35
    sensor = Sensor(
        exposure=0.95, blur=0.4, vignette=0.15, gamma=0.55, contrast=0.2, black=0.02, read_noise=0.002,
        shot_noise=0.004, flicker=0.0, drift=0.0, shadow=None, switched=None, codec="none", quality=0,
    )  # fmt: skip
    return replace(room, body=body, camera=camera, lights=lights, samples=3), sensor


def _film(room: Room, sensor: Sensor, parts: tuple[NDArray[np.void], NDArray[np.void]]) -> Film:
    rng = np.random.default_rng(_SEED)
    look = replace(random_look(rng), skin=0.5, sleeve=0.1, finger_radius=7.2, palm=True, sleeve_behind=60.0)
    span = (_BEGIN_S, LENGTH_S)
    strokes = [strokes_of(part, rng) for part in parts]
    hands = [
        Hand(room, look, strokes[0], True, 0.0, span, rng, arrives_s=_BEGIN_S - 0.25),
        Hand(room, look, strokes[1], False, 0.0, span, rng, arrives_s=_BEGIN_S - 0.25),
    ]
    together = Strokes(*(np.concatenate([getattr(s, n) for s in strokes]) for n in Strokes.__slots__))
    times = np.arange(round(LENGTH_S * RATE)) / RATE
    return Film(room, sensor, together, times, 0.012, hands, rng)


def render_demo_take(folder: Path, soundfont: Path) -> list[Path]:
    """Write take.mp4 (H.264 and FLAC), take.mid (truth) and take.json (true corners); return their paths.

    Raises:
        SourceError: FluidSynth or the soundfont is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"take.{ending}" for ending in ("mp4", "mid", "json")]
    left, right, pedal = piece()
    both = np.concatenate([left, right])
    write_midi(both, pedal, paths[1])
    room, sensor = _scene()
    _mux(_film(room, sensor, (left, right)), _sound(paths[1], soundfont), paths[0])
    names = ("A0_back", "C8_back", "C8_front", "A0_front")
    corners = scene_calibration(room).corners()
    truth = {
        "fps": RATE,
        "width": room.camera.width,
        "height": room.camera.height,
        "corners_px": {
            name: [round(float(v), 3) for v in xy] for name, xy in zip(names, corners, strict=True)
        },
        "first_onset_s": float(both["onset_s"].min()),
    }
    paths[2].write_text(json.dumps(truth, indent=1) + "\n")
    return paths


def _mux(film: Film, sound: NDArray[np.float32], path: Path) -> None:
    """Write pictures and sound so that time 0 of both is the same instant.

    FLAC has no encoder delay to make up for. A picture's time stamp is the middle of its exposure.
    """
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = film.frame.shape[1], film.frame.shape[0], "yuv420p"
        video.options = {"crf": "21", "preset": "slow", "bf": "0"}
        audio = out.add_stream("flac", rate=SOUND_RATE, layout="mono", format="s16")
        audio.codec_context.options = {"strict": "experimental"}
        grey = np.full((film.frame.shape[0] // 2, film.frame.shape[1]), 128, np.uint8)
        samples = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
        per_picture = SOUND_RATE // RATE
        for i, picture in enumerate(film.exposures()):
            frame = av.VideoFrame.from_ndarray(np.concatenate([picture, grey]), format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            block = av.AudioFrame.from_ndarray(
                samples[None, i * per_picture : (i + 1) * per_picture], format="s16", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = (
                SOUND_RATE,
                i * per_picture,
                Fraction(1, SOUND_RATE),
            )
            for stream, one in ((video, frame), (audio, block)):
                for packet in stream.encode(one):
                    out.mux(packet)
        for stream in (video, audio):
            for packet in stream.encode(None):
                out.mux(packet)
