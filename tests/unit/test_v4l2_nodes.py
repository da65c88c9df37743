"""A camera is known by more than the number of its node."""

import pytest

from ivories.sources import v4l2_nodes
from ivories.sources.v4l2_nodes import find_again, name_of, usb_cameras


class Machine:
    """A machine of cameras, as the kernel lists them."""

    def __init__(self, folder):
        self.nodes, self.listed, self.places = (folder / name for name in ("dev", "listed", "devices"))
        self.nodes.mkdir()
        self.listed.mkdir()

    def plug(self, number, product, place="usb1/1-1", index=0):
        """Give a camera the node of this number; return its path."""
        node, entry = self.nodes / f"video{number}", self.listed / f"video{number}"
        node.touch()
        entry.mkdir()
        (entry / "name").write_text(f"{product}\n")
        (entry / "index").write_text(f"{index}\n")
        (self.places / place).mkdir(parents=True, exist_ok=True)
        (entry / "device").symlink_to(self.places / place)
        return str(node)

    def pull(self, number):
        """Take a node away."""
        (self.nodes / f"video{number}").unlink()
        (self.listed / f"video{number}").rename(self.listed / f"gone{number}")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without a camera."""
    machine = Machine(tmp_path)
    monkeypatch.setattr(v4l2_nodes, "_NODES", machine.nodes)
    monkeypatch.setattr(v4l2_nodes, "_LISTED", machine.listed)
    return machine


def test_usb_cameras_in_the_order_of_their_numbers_without_what_gives_no_pictures(machine):
    machine.plug(10, "Late", "usb1/1-2")
    machine.plug(2, "Early")
    machine.plug(3, "Early", index=1)
    machine.plug(0, "isp", "soc")
    assert [node.rpartition("/")[2] for node in usb_cameras()] == ["video2", "video10"]


def test_a_camera_keeps_its_node_where_it_can(machine):
    machine.plug(0, "Same")
    first = machine.plug(2, "Same")
    name = name_of(first)
    assert find_again(first, name) == first
    machine.pull(0)
    machine.pull(2)
    assert find_again(first, name) == first  # to be waited for


def test_it_is_found_under_another_number_and_at_another_place(machine):
    first = machine.plug(0, "Mine")
    name = name_of(first)
    machine.pull(0)
    machine.plug(1, "Mine", index=1)
    elsewhere = machine.plug(2, "Mine", "usb3/3-1")
    assert find_again(first, name) == elsewhere
    here = machine.plug(4, "Mine")
    assert find_again(first, name) == here


def test_another_camera_that_took_its_number_is_not_taken_for_it(machine):
    first = machine.plug(0, "Mine")
    name = name_of(first)
    machine.pull(0)
    machine.plug(0, "Other")
    mine = machine.plug(1, "Mine")
    assert find_again(first, name) == mine


def test_a_link_names_its_camera_and_a_file_none(machine, tmp_path):
    node = machine.plug(5, "Mine")
    link = tmp_path / "by-id"
    link.symlink_to(node)
    assert name_of(str(link)) == name_of(node) is not None
    machine.pull(5)
    assert find_again(str(link), name_of(machine.plug(6, "Mine"))).endswith("video6")
    stray = tmp_path / "video6"
    stray.touch()
    assert name_of(str(stray)) is None
    assert find_again(str(stray), None) == str(stray)
