"""Material that somebody else has written: what reads it gives a value or one sentence."""

import contextlib
import io
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from damage import edited, told
from ivories.errors import SourceError
from ivories.notes import read_notes
from ivories.resources import bundled_take
from ivories_training.audio.sample_bank import RATE, read_sfz
from ivories_training.performances import INDEX, SPLITS, find, provenance, read_midi

TAKE = bundled_take().with_suffix(".mid").read_bytes()
SFZ = (
    b"<control> default_path=sounds/\n#define $LOW 21\n<global> ampeg_release=1\n"
    b"<group> lokey=$LOW hikey=23 hivel=64\n"
    b'<region> sample=a.wav pitch_keycenter=22 tune=-5 offset=3 cutoff=900\n#include "more.sfz"\n'
)
TABLE = b"file,split,source,licence\na.mid,train,somewhere: a.mid,CC0\nb.mid,test,,\n"


def rich_midi() -> bytes:
    """A file with a little of everything."""
    meta, message = mido.MetaMessage, mido.Message
    track = mido.MidiTrack(
        [
            meta("set_tempo", tempo=400_000), meta("key_signature", key="C"), meta("time_signature"),
            meta("track_name", name="one"), meta("smpte_offset"), message("sysex", data=[1, 2, 3]),
            message("note_on", note=60), message("control_change", control=64, value=100, time=20),
            message("pitchwheel"), message("note_off", note=60, time=100), meta("end_of_track"),
        ]
    )  # fmt: skip
    kept = io.BytesIO()
    mido.MidiFile(tracks=[track]).save(file=kept)
    return kept.getvalue()


def edits_with(*tokens: bytes) -> st.SearchStrategy[list[tuple[float, int, bytes]]]:
    """Where, how many bytes are taken out there, and what is put in."""
    return st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=5) | st.sampled_from(tokens)),
        min_size=1, max_size=4,
    )  # fmt: skip


RICH = rich_midi()
IN_MIDI = edits_with(
    b"\xff\x59\x02\x09\x09",
    b"\xff\x51\x03\0\0\0",
    b"\xff\x58\1\1",
    b"\xf0\x83",
    b"\x80\x80\x80\x80",
    b"MTrk",
    b"\xff",
)
ODD_KEY = b"\xff\x59\x02\x09\x09"
IN_SFZ = edits_with(
    b" key=999 ", b" key=c4 ", b" hivel=x ", b" tune=1e999 ", b" tune=nan ", b" offset=-4 ", b" cutoff=0 ",
    b" pitch_keycenter=-9999 ", b"\n#define ", b"\n#define $A ", b"\n#include ", b'\n#include "piano.sfz"\n',
    b"<region>", b"=", b" sample= ", b"//", b"\xff",
)  # fmt: skip
IN_TABLES = edits_with(b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"split", b"file", b"test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piano of two sounds, and two performances."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "sounds").mkdir()
    tone = 0.3 * np.sin(np.arange(RATE // 20) / 5)
    for name in "ab":
        soundfile.write(folder / f"sounds/{name}.wav", tone, RATE)
    (folder / "more.sfz").write_text("<region> sample=b.wav key=22 hivel=127\n")
    for name in ("a.mid", "b.mid"):
        (folder / name).write_bytes(RICH)
    return folder


def test_the_pieces_are_whole_before_they_are_edited(folder: Path) -> None:
    (folder / "piano.sfz").write_bytes(SFZ)
    assert [layer.highest for layer in read_sfz(folder / "piano.sfz").layers] == [64, 127]
    (folder / INDEX).write_bytes(TABLE)
    assert [path.name for path in find(folder)["test"]] == ["b.mid"]
    assert provenance(folder, "train") == ["1 performances (MIDI) of somewhere (CC0)"]
    assert len(read_midi(folder / "a.mid").notes) == len(read_notes(folder / "a.mid")) == 1


@given(st.sampled_from([RICH, TAKE]), IN_MIDI)
@example(RICH, [(0.3, 0, ODD_KEY)])
def test_an_edited_midi_file(folder: Path, content: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    for read in (read_notes, read_midi):
        told(read, folder / "edited", edited(content, edits), SourceError)


def test_a_key_that_is_none_is_told(tmp_path: Path) -> None:
    place = RICH.index(ODD_KEY[:3]) + 3
    (tmp_path / "odd.mid").write_bytes(RICH[:place] + ODD_KEY[3:] + RICH[place + 2 :])
    with pytest.raises(SourceError, match=r"odd\.mid is not a readable MIDI file: Could not decode key"):
        read_notes(tmp_path / "odd.mid")


@given(IN_SFZ)
def test_an_edited_instrument(folder: Path, edits: list[tuple[float, int, bytes]]) -> None:
    (folder / "piano.sfz").write_bytes(edited(SFZ, edits))
    with contextlib.suppress(SourceError):
        read_sfz(folder / "piano.sfz")


@given(IN_TABLES)
def test_an_edited_table_of_performances(folder: Path, edits: list[tuple[float, int, bytes]]) -> None:
    (folder / INDEX).write_bytes(edited(TABLE, edits))
    with contextlib.suppress(SourceError):
        assert set(find(folder)) == set(SPLITS)
        provenance(folder, "train")
