"""The library that hears travels with a release: Debian's is too old, and there is none to download."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "deploy"))
import pack

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def built(folder, machine):
    """Build for ``machine``; return the wheel and the module in it."""
    wheel = pack.build_microphone_library(folder, {"machine": machine, "python": OWN})
    with zipfile.ZipFile(wheel) as archive:
        (module,) = [name for name in archive.namelist() if name.endswith(".so")]
        return wheel, Path(archive.extract(module, folder / "in"))


def test_it_is_built_for_this_machine_and_has_what_the_source_calls(tmp_path):
    _, module = built(tmp_path, os.uname().machine)
    asked = "import alsaaudio; print(alsaaudio.__file__, alsaaudio.PCM.polldescriptors_revents)"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(module.parent)},
    )  # fmt: skip
    assert str(module) in done.stdout


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-gcc") is None or os.uname().machine == "aarch64",
    reason="the cross-compiler is not installed (make packages), or this is no other machine",
)
def test_it_is_built_for_a_pi_on_another_processor(tmp_path):
    wheel, module = built(tmp_path, "aarch64")
    assert wheel.name.endswith("-linux_aarch64.whl")
    assert module.name == f"alsaaudio.cpython-{OWN.replace('.', '')}-aarch64-linux-gnu.so"
    command = ["aarch64-linux-gnu-readelf", "-Whd", "--dyn-syms", module]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "AArch64" in told
    assert "libasound.so.2" in told
    # Of a function that once took other arguments, the library has both; who names none gets the old.
    called = re.findall(r" UND (snd_\S+)", told)
    assert "snd_pcm_hw_params_set_rate_near@ALSA_0.9.0rc4" in called
    assert not [name for name in called if "@" not in name]


def test_it_travels_also_with_a_release_whose_device_fetches_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "sign", lambda content, key: b"")
    device = {"machine": os.uname().machine, "python": OWN}
    wheel = tmp_path / "ivories-1-py3-none-any.whl"
    wheel.touch()
    brought = pack.microphone_library(tmp_path / "others", device)
    manifest = json.loads(pack.pack(wheel, brought, [], device, wheel, fetch_there=True).manifest)
    assert not manifest["complete"]
    assert [file["path"].split("-")[0] for file in manifest["files"]] == [
        "wheels/ivories",
        "wheels/pyalsaaudio",
    ]
    assert json.loads(pack.pack(wheel, brought, [], device, wheel).manifest)["complete"]


def test_where_it_cannot_be_built_the_release_goes_without_and_says_so(tmp_path, capsys):
    assert pack.microphone_library(tmp_path, {"machine": os.uname().machine, "python": "3.10"}) == []
    assert "will not hear" in capsys.readouterr().out


def test_another_python_is_told(tmp_path):
    with pytest.raises(pack.ReleaseError, match=r"Python 3\.10"):
        pack.build_microphone_library(tmp_path, {"machine": os.uname().machine, "python": "3.10"})
