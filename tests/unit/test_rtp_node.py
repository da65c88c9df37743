"""RTP-MIDI sessions as the outside sees them: whatever arrives, from wherever."""

from hypothesis import given
from hypothesis import strategies as st

from ivories.sinks.rtp.node import SESSIONS, RtpNode
from ivories.sinks.rtp.packets import Clock, Exchange


class Quiet:
    """In the place of the ports: what would be sent."""

    def __init__(self):
        self.sent = []
        self.refused = 0

    def send_control(self, packet, to):
        assert 0 <= to[1] < 1 << 16
        self.sent.append((packet, to))

    send_data = send_control

    def close(self):
        pass


ORIGINS = st.sampled_from(
    [(host, port) for host in ("10.0.0.1", "10.0.0.2", "9.9.9.9") for port in (5004, 5005, 0)]
)
SMALL = st.integers(0, 3)
PACKETS = st.one_of(
    st.builds(Exchange, st.sampled_from([b"IN", b"OK", b"NO", b"BY"]), SMALL, SMALL, st.text(max_size=9)).map(
        lambda exchange: exchange.encode()
    ),
    st.builds(Clock, SMALL, st.integers(0, 2), st.tuples(SMALL, SMALL, SMALL)).map(
        lambda clock: clock.encode()
    ),
    st.builds(
        lambda ssrc, n: b"\xff\xffRS" + ssrc.to_bytes(4, "big") + n.to_bytes(4, "big"),
        SMALL,
        st.integers(0, 2**32 - 1),
    ),
    st.builds(lambda ssrc: b"\x80\x61" + bytes(6) + ssrc.to_bytes(4, "big") + b"\x40\x80\0\0", SMALL),
    st.binary(max_size=40),
)


@given(st.lists(st.tuples(PACKETS, ORIGINS, st.booleans(), st.booleans()), max_size=60))
def test_whatever_arrives_only_who_may_listen_is_sent_anything(arriving):
    node = RtpNode('{"port": 5004, "name": "Piano", "allow": ["10.0.0.0/8"], "invite": []}')
    node._ports = quiet = Quiet()
    heard_from = set()
    for number, (data, origin, at_data, play) in enumerate(arriving):
        heard_from.add(origin[0])
        if node._listens_to(origin):
            node._take(data, origin, float(number), at_data=at_data)
        if play:
            node.send(bytes((0x90 if number % 2 else 0x80, 60 + number % 5, 64)))
        for session in node._sessions:
            node._put(session, session.tick(float(number)))
    assert len(node._sessions) <= SESSIONS
    assert {to[0] for _, to in quiet.sent} <= heard_from & {"10.0.0.1", "10.0.0.2"}
    node.close()
    assert node.state == "absent"


def test_feedback_from_elsewhere_is_not_believed():
    node = RtpNode('{"port": 5004, "name": "Piano", "allow": ["10.0.0.0/8"], "invite": []}')
    node._ports = Quiet()
    for at_data in (False, True):
        asked = Exchange(b"IN", 5, 9, "Studio").encode()
        node._take(asked, ("10.0.0.1", 5004 + at_data), 0.0, at_data=at_data)
    (session,) = node._sessions
    number = (session.sequence - 1) & 0xFFFF
    told = b"\xff\xffRS" + (9).to_bytes(4, "big") + number.to_bytes(4, "big")
    node._take(told, ("10.0.0.2", 5004), 0.1, at_data=False)
    node._take(
        told.replace((9).to_bytes(4, "big"), (8).to_bytes(4, "big")), ("10.0.0.1", 5004), 0.1, at_data=False
    )
    assert not session._journal.empty
    node._take(told, ("10.0.0.1", 5004), 0.1, at_data=False)
    assert session._journal.empty
