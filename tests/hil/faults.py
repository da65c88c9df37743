"""Whatever is pulled, killed or stopped while music plays: no note hangs, and the music goes on."""

import json

import pytest

GADGET = "/sys/kernel/config/usb_gadget/ivories/UDC"
PLUG = "/sys/bus/usb/devices/1-1/authorized"
WATCHDOG_S = 15
SILENCE_S = 0.3


def unharmed(report):
    """Check what holds after every fault: whole messages, new notes, and silence when the music ends."""
    assert report["held"]
    assert report["back_after_s"] is not None, report
    assert (report["stuck"], report["pedal"], report["torn"]) == ([], 0, 0)
    return report


@pytest.mark.parametrize(
    ("out", "back"),
    [
        (f"echo > {GADGET}", f"echo dummy_udc.0 > {GADGET}"),
        (f"echo 0 > {PLUG}", f"echo 1 > {PLUG}"),
        ("systemctl stop ivories-gadget", "systemctl start ivories-gadget"),
    ],
    ids=["device port rebound", "cable pulled", "gadget service restarted"],
)
def test_unplugged_and_back(untroubled, out, back):
    report = unharmed(untroubled.laptop(strike=out, repair=back, repair_after_s=2))
    assert report["plugged"] == 2
    # What sounded when the cable went ends as soon as there is a cable again.
    assert report["ended_after_s"] is not None or report["ended_after_repair_s"] < 3


def test_one_cable_carries_a_network_card_too(untroubled):
    guest = untroubled.guest
    guest.put(b"ETHERNET=yes\n", "/etc/default/ivories-gadget")
    unharmed(untroubled.laptop(strike="systemctl restart ivories-gadget"))
    addresses = guest.run("cat /sys/class/net/*/address").split()
    ours, theirs = ([a for a in addresses if a.startswith(start)] for start in ("02:", "06:"))
    assert len(ours) == len(theirs) == 1, addresses
    assert ours[0][3:] == theirs[0][3:]
    guest.run("sudo rm /etc/default/ivories-gadget && sudo systemctl restart ivories-gadget")


def test_a_service_that_hangs_is_silenced_at_once_and_started_afresh_by_the_watchdog(piano):
    before = int(piano.guest.run("sudo systemctl show ivories -p NRestarts --value"))
    report = unharmed(piano.laptop(strike="kill -STOP {pid}"))
    assert report["ended_after_s"] <= SILENCE_S
    assert report["back_after_s"] >= 1
    assert int(piano.guest.run("sudo systemctl show ivories -p NRestarts --value")) == before + 1
    journal = piano.guest.run("sudo journalctl -u ivories --no-pager -n 200")
    assert f"Watchdog timeout (limit {WATCHDOG_S}s)" in journal


def test_the_owner_of_the_port_killed_costs_no_note_its_end(untroubled):
    report = unharmed(untroubled.laptop(strike="pkill -9 -u ivories -f sinks.port.owner"))
    assert report["ended_after_s"] is not None


def test_music_goes_on_without_a_broker_which_is_told_all_when_it_is_back(untroubled):
    guest = untroubled.guest
    report = unharmed(
        untroubled.laptop(
            strike="systemctl kill -s KILL mosquitto; systemctl stop mosquitto",
            repair="systemctl start mosquitto", repair_after_s=4,
        )
    )  # fmt: skip
    assert report["plugged"] == 1
    retained = "mosquitto_sub -h localhost -C 1 -W 30 -t ivories/piano/"
    guest.wait_for(f"{retained}status | grep -qx online", 60)
    assert json.loads(guest.run(f"{retained}keys"))["pressed"] == []
