"""An MQTT broker on this computer alone, for the demo and the tests: mosquitto if installed, else amqtt."""

import asyncio
import contextlib
import getpass
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from ivories.errors import BackendError

HOST: Final = "127.0.0.1"
START_S: Final = 10.0
STOP_S: Final = 1.0
_LIBRARY_LOGGERS: Final = ("amqtt", "transitions")

Which = Literal["mosquitto", "amqtt"]


@dataclass
class EmbeddedBroker:
    """A running broker that takes anyone, and listens to this computer only; ``with`` stops it at the end."""

    which: Which
    port: int
    stop: Callable[[], None]
    """Stops the broker; calling again does nothing"""
    host: str = HOST
    websockets: int = 0
    """Port for pages in a browser; 0 for none"""

    @property
    def protocol(self) -> Literal["5", "3.1.1"]:
        """The newest version of MQTT that it speaks."""
        return "5" if self.which == "mosquitto" else "3.1.1"

    def __enter__(self) -> Self:
        """Return the running broker."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def start_broker(
    which: Which | None = None, *, port: int = 0, websockets: int | None = None
) -> EmbeddedBroker:
    """Start a broker.

    Args:
        which: the program; None takes mosquitto where it is installed, else amqtt.
        port: where to listen; 0 takes a free port.
        websockets: where to listen for pages in a browser; 0 takes a free port, None does not listen.

    Raises:
        BackendError: neither is installed, or it does not start.
    """
    port = port or _free_port()
    pages = 0 if websockets is None else websockets or _free_port()
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if which is None:
        which = "mosquitto" if mosquitto else "amqtt"
    if which == "amqtt":
        return EmbeddedBroker("amqtt", port, _start_amqtt(port, pages), websockets=pages)
    if mosquitto is None:
        raise BackendError("mosquitto is not installed: run 'apt-get install mosquitto'")
    return EmbeddedBroker("mosquitto", port, _start_mosquitto(mosquitto, port, pages), websockets=pages)


def _start_mosquitto(program: str, port: int, pages: int) -> Callable[[], None]:
    folder = Path(tempfile.mkdtemp(prefix="ivories-mosquitto-"))
    configuration = folder / "mosquitto.conf"
    for_pages = f"listener {pages} {HOST}\nprotocol websockets\n" if pages else ""
    configuration.write_text(
        f"{for_pages}listener {port} {HOST}\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
        f"user {getpass.getuser()}\nlog_dest file {folder / 'log'}\n"
    )
    command = [program, "-c", str(configuration)]
    if setpriv := shutil.which("setpriv"):  # do not outlive the demo, however it ends
        command = [setpriv, "--pdeathsig", "TERM", *command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603

    def stop() -> None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    # Its own word counts, not an answer at the port: that may be somebody else's.
    deadline = time.monotonic() + START_S
    log = folder / "log"
    said = ""
    while " running" not in said and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        said = log.read_text() if log.exists() else ""
    if " running" not in said or process.poll() is not None:
        stop()
        raise BackendError(f"mosquitto does not start on port {port}: {said.strip() or 'no reason given'}")
    return stop


def _start_amqtt(port: int, pages: int) -> Callable[[], None]:
    try:
        from amqtt.broker import Broker
    except ImportError as error:
        raise BackendError(
            "no MQTT broker here: run 'apt-get install mosquitto', or 'pip install ivories[console]'"
        ) from error
    for name in _LIBRARY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    listeners = {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}}
    if pages:
        listeners["pages"] = {"type": "ws", "bind": f"{HOST}:{pages}"}
    configuration = {
        "listeners": listeners,
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    started = threading.Event()
    failure: list[BaseException] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        running.append((asyncio.get_running_loop(), stopping))
        broker = Broker(configuration)
        await broker.start()
        started.set()
        await stopping.wait()
        for listener in broker._servers.values():  # noqa: SLF001  its shutdown lets clients in till the end
            listener.instance.close()
        with contextlib.suppress(TimeoutError):  # it waits for clients that do not leave
            await asyncio.wait_for(broker.shutdown(), STOP_S)

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="amqtt", daemon=True)
    thread.start()

    def stop() -> None:
        if thread.is_alive() and running:
            loop, stopping = running[0]
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(stopping.set)
            thread.join(2 * STOP_S)

    if not started.wait(START_S) or failure:
        stop()
        raise BackendError(f"amqtt does not start on port {port}: {failure[0] if failure else 'no answer'}")
    return stop


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
