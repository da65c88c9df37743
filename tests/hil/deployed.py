"""From a bare Debian to a release that runs with its watchdog and its USB port: before all else."""


def test_preparing_again_changes_nothing(piano):
    assert "is prepared" in piano.said_at_install
    again = piano.release("install")
    assert "is prepared" in again
    assert "writing" not in again


def test_the_release_brings_what_it_hears_with(piano):
    wanted = "import alsaaudio; alsaaudio.PCM_FORMAT_S24_3LE"
    piano.guest.run(f"/opt/ivories/current/venv/bin/python -c '{wanted}'")


def test_the_release_runs_with_its_watchdog(piano):
    assert "runs" in piano.said_at_deploy
    status = piano.release("status")
    assert "service: active playing" in status, status
    shown = piano.guest.run("sudo systemctl show ivories -p WatchdogUSec -p NRestarts -p User")
    assert set(shown.split()) == {"WatchdogUSec=15s", "NRestarts=0", "User=ivories"}


def test_the_usb_host_sees_a_keyboard_called_ivories(piano):
    gadget = piano.guest.run("sudo /usr/local/sbin/ivories-gadget status").strip()
    assert gadget == "up on dummy_udc.0, configured"
    cards = piano.guest.run("cat /proc/asound/cards")
    assert "USB-Audio - Ivories" in cards, cards
    product = piano.guest.run("cat /sys/bus/usb/devices/1-1/product /sys/bus/usb/devices/1-1/serial").split()
    assert product[0] == "Ivories"
    assert len(product[1]) == 16
