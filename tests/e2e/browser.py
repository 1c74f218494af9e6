# SPDX-License-Identifier: MIT
"""browser.py - a browser without a window, for tests of pages

Chromium speaks its DevTools protocol over a pair of pipes: JSON, a zero byte
after each message.  So no port is opened, and nothing but the browser itself
has to be installed.
"""
import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

NAMES = ["chromium-headless-shell", "chromium", "chromium-browser",
         "google-chrome"]
HANG = 60  # seconds; no answer in this time is a failure
QUIET = ["--no-first-run", "--disable-gpu", "--disable-extensions",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--force-color-profile=srgb", "--font-render-hinting=none"]


def find():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class PageError(Exception):
    """What a script on the page has thrown, or the browser refuses."""


class Browser:
    """One browser with one page.  Use it in a with statement."""

    def __init__(self, width=1280, height=900, scale=1, dark=False):
        self.profile = tempfile.mkdtemp(prefix="tidemark-browser-")
        self.events, self.number, self.session = [], 0, None
        self.left = b""
        theirs_in, self.to = os.pipe()
        self.back, theirs_out = os.pipe()
        command = [find(), "--remote-debugging-pipe", "--headless", *QUIET,
                   "--user-data-dir=" + self.profile]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        try:
            self.process = subprocess.Popen(
                # It reads from descriptor 3 and writes to 4.  (Any sh knows
                # descriptors of one digit only.)
                ["bash", "-c", f'exec {{i}}<&{theirs_in} {{o}}>&{theirs_out}'
                 ' 3<&$i 4>&$o "$@"', "bash", *command],
                pass_fds=(theirs_in, theirs_out), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        try:
            self.begin(width, height, scale, dark)
        except BaseException:
            self.close()
            raise

    def begin(self, width, height, scale, dark):
        target = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", flatten=True,
                             targetId=target["targetId"])
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.look(width, height, scale, dark)

    def look(self, width, height, scale=1, dark=False):
        """The window's size, and the scheme that its user likes."""
        self.call("Emulation.setDeviceMetricsOverride", width=width,
                  height=height, deviceScaleFactor=scale, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme",
             "value": "dark" if dark else "light"}])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        os.close(self.to)
        os.close(self.back)
        try:
            self.process.wait(10)  # it ends with its pipe
        except subprocess.TimeoutExpired:
            pass
        try:  # with all that it started
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    # ---- the protocol ----

    def call(self, method, **parameters):
        """Does it.  Returns the result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self.to, text):]
        number = self.number
        while True:
            answer = self.receive(time.monotonic() + HANG)
            if answer.get("id") != number:
                self.events.append(answer)
            elif "error" in answer:
                raise PageError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def receive(self, end):
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.back], [], [],
                                        max(0, end - time.monotonic()))
            more = os.read(self.back, 1 << 20) if ready else b""
            if not more:
                raise PageError("the browser has "
                                + ("ended" if ready else "hung"))
            self.left += more
        message, self.left = self.left.split(b"\0", 1)
        return json.loads(message)

    # ---- the page ----

    def open(self, address):
        self.events.clear()
        failed = self.call("Page.navigate", url=address).get("errorText")
        if failed:
            raise PageError(f"{address}: {failed}")
        self.until("document.readyState === 'complete'")
        self.settle()

    def run(self, script):
        """The value of an expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script,
                           awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get(
                "description", details["text"]))
        return answer["result"].get("value")

    def until(self, script):
        end = time.monotonic() + HANG
        while not self.run(script):
            if time.monotonic() > end:
                raise PageError("never true: " + script)
            time.sleep(0.01)

    def settle(self):
        """Until what was asked for has been drawn."""
        self.run("new Promise(done => requestAnimationFrame(() =>"
                 " requestAnimationFrame(() => setTimeout(done))))")

    def complaints(self):
        """What the page has thrown, or has said in the console."""
        self.run("1")  # so that all events are here
        found = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]))
            elif event["method"] == "Log.entryAdded":
                found.append(event["params"]["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled":
                found.append(json.dumps(event["params"]["args"]))
        return found

    def requests(self):
        """The addresses that were asked for."""
        self.run("1")
        return [event["params"]["request"]["url"] for event in self.events
                if event["method"] == "Network.requestWillBeSent"]

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type="mouse" + kind, x=x, y=y,
                  **more)

    def click(self, x, y, **more):
        self.drag(x, y, x, y, **more)

    def drag(self, x0, y0, x1, y1, **more):
        held = {"button": "left", "buttons": 1, "clickCount": 1, **more}
        self.mouse("Moved", x0, y0)
        self.mouse("Pressed", x0, y0, **held)
        if (x0, y0) != (x1, y1):
            self.mouse("Moved", (x0 + x1) / 2, (y0 + y1) / 2, **held)
            self.mouse("Moved", x1, y1, **held)
        self.mouse("Released", x1, y1, **{**held, "buttons": 0})
        self.settle()

    def wheel(self, x, y, amount, **more):
        self.mouse("Wheel", x, y, deltaX=0, deltaY=amount, **more)
        self.settle()

    def key(self, key, modifiers=0):
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key,
                  modifiers=modifiers, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key,
                  modifiers=modifiers)
        self.settle()

    def box(self, selector):
        """Where an element is in the window: x, y, width, height."""
        box = self.run(f"(() => {{ const box = document.querySelector("
                       f"{json.dumps(selector)}).getBoundingClientRect();"
                       "return [box.x, box.y, box.width, box.height]; })()")
        return tuple(box)

    def press(self, selector):
        """Clicks on an element."""
        self.run(f"document.querySelector({json.dumps(selector)})"
                 ".scrollIntoView({block: 'center'})")
        self.settle()
        x, y, width, height = self.box(selector)
        self.click(x + width / 2, y + height / 2)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})"
                        ".textContent")

    def picture(self, path, whole=True):
        """A PNG of the page, to be looked at."""
        shot = self.call("Page.captureScreenshot", format="png",
                         captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
