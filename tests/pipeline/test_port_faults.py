"""Ten thousand faults into the application and the owner of its MIDI port: no note hangs.

`make faults` does the same a million times.
"""

import tempfile

import port_deaths
import port_faults
from ivories.sinks.port import ledger as port_ledger
from ivories.sinks.port import owner as port_owner


def test_ten_thousand_deaths_and_other_faults_leave_no_note_hanging(capsys):
    counts, longest, stuck, lives, held = port_deaths.inject(10_000, workers=2, seed=1)
    with capsys.disabled():
        print(f"\n{counts.total()} faults, {lives} lives, {held} notes held, {len(stuck)} stuck")  # noqa: T201
    assert not stuck
    assert counts.total() >= 10_000
    assert min(counts[kind] for kind in (*port_deaths.SURVIVED, *port_deaths.DEADLY)) > 100
    assert held > 20_000
    assert max(longest.values()) < port_deaths.LIMIT_S


def test_true_kills_leave_no_note_hanging(capsys):
    text, faults, late = port_faults.table(merged := port_faults.inject(500, workers=8, seed=1))
    with capsys.disabled():
        print("\n" + text)  # noqa: T201
    assert not merged["stuck"]
    assert faults >= 500
    assert merged["real"] > 0
    assert late <= faults // 100  # of a machine that does something else


def stuck_with(monkeypatch, module, name, replacement):
    monkeypatch.setattr(module, name, replacement)
    with tempfile.TemporaryDirectory() as folder:
        return port_deaths.Stage(1, 300, folder).run().stuck


def test_an_owner_that_would_not_release_is_found_out(monkeypatch):
    def leave(owner, linger_s):
        owner._leave_at = port_owner.time.monotonic() + linger_s

    assert stuck_with(monkeypatch, port_owner.PortOwner, "_leave", leave)


def test_a_ledger_that_forgets_an_offset_is_found_out(monkeypatch):
    def record(ledger, message):
        if message[0] != port_ledger.NOTE_OFF or message[1] != 60:
            real(ledger, message)

    real = port_ledger.PortLedger.record
    assert stuck_with(monkeypatch, port_ledger.PortLedger, "record", record)
