"""A real headless Chromium that tests can look into, spoken to through a pipe (DevTools protocol)."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None
)


class Browser:
    """One browser with any number of pages."""

    def __init__(self):
        self.pages = {}
        self._numbers = itertools.count(1)
        self._unread = b""
        self._folder = tempfile.mkdtemp(prefix="ivories-browser-")
        command_read, self._commands = os.pipe()
        self._answers, answer_write = os.pipe()
        # The browser reads descriptor 3 and writes 4: ours must be neither while the shell moves them there.
        theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (command_read, answer_write)]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", CHROMIUM, "--headless",
             "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", f"--user-data-dir={self._folder}"],
            pass_fds=theirs, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in (command_read, answer_write, *theirs):
            os.close(descriptor)

    def call(self, method, session="", **params):
        """Return the result of one DevTools command; what pages log meanwhile goes to their ``log``."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | (
            {"sessionId": session} if session else {}
        )
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            page = self.pages.get(answer.get("sessionId"))
            if page and answer["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                page.log.append(answer["params"])

    def _read(self):
        while b"\0" not in self._unread:
            more = os.read(self._answers, 1 << 16)
            assert more, "the browser has gone"
            self._unread += more
        text, _, self._unread = self._unread.partition(b"\0")
        return json.loads(text)

    def close(self):
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        shutil.rmtree(self._folder, ignore_errors=True)


class Page:
    """One page; ``log`` holds what it wrote to its console, and its uncaught errors."""

    def __init__(self, browser, address, *, width=720, height=480, dark=True):
        self.log = []
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        browser.pages[self._session] = self
        self.call("Runtime.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call("Page.navigate", url=address)

    def call(self, method, **params):
        """Return the result of one DevTools command for this page."""
        return self._browser.call(method, self._session, **params)

    def ask(self, expression):
        """Return the value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression, seconds=15.0):
        """Return once ``expression`` is true; until then it may also fail."""
        deadline = time.monotonic() + seconds
        while True:
            result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            if result["result"].get("value") is True:
                return
            assert time.monotonic() < deadline, f"never true: {expression}: {result}"
            time.sleep(0.02)

    def picture(self):
        """Return a screenshot, PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self):
        """Close the page."""
        self._browser.pages.pop(self._session)
        self._browser.call("Target.closeTarget", targetId=self._target)
