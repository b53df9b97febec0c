"""Opens page.html in headless Chromium, with everything it loads from a server on loopback."""

import contextlib
import http.server
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.interop import tools

HERE = Path(__file__).parent
SECONDS = 240

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a file from a CDN is an error
    "--enable-logging=stderr",
]


def classify(run: Path, texts: list[str], dtypes: list[str]) -> dict:
    """Returns what the page answers: {versions, ids, and by dtype a list of {probabilities, asIs}}.

    Raises:
      RuntimeError: the page failed, Chromium ended, or there was no answer in `SECONDS`.
    """
    answers = queue.Queue()
    with _serving(run, {"texts": texts, "dtypes": dtypes}, answers) as url:
        answer = _visit(f"{url}/page/page.html", answers)
    if "error" in answer:
        raise RuntimeError(f"the page failed: {answer['error']}")
    return answer


def _visit(url: str, answers: queue.Queue) -> dict:
    """Keeps a page open until there is an answer."""
    # Chromium's helpers may still write to the profile when it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        command = [tools.find_chromium(), *FLAGS, f"--user-data-dir={folder}/profile", url]
        with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
            try:
                what = f"gave no answer in {SECONDS} s"
                for _ in range(SECONDS):
                    with contextlib.suppress(queue.Empty):
                        return answers.get(timeout=1)
                    if process.poll() is not None:
                        what = f"ended with exit code {process.returncode}"
                        break
            finally:
                process.terminate()
        # Most lines are about services that a server has not; the page's own are marked.
        lines = log.read_text(errors="replace").splitlines()
        shown = [line for line in lines if "CONSOLE" in line] or lines[-10:]
        raise RuntimeError("\n".join([f"Chromium {what}; it logged:", *shown]))


@contextlib.contextmanager
def _serving(run: Path, question: dict, answers: queue.Queue) -> Iterator[str]:
    """Serves the run, the page and node_modules on a free port; yields the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(run, question, answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(run: Path, question: dict, answers: queue.Queue) -> type[http.server.SimpleHTTPRequestHandler]:
    folders = {"run": run, "page": HERE, "node_modules": HERE / "node_modules"}

    class Handler(http.server.SimpleHTTPRequestHandler):
        """Answers one request."""

        # Not what the machine's table of types says: a module or a wasm file of another type is refused.
        extensions_map = {
            "": "application/octet-stream",
            ".html": "text/html",
            ".js": "text/javascript",
            ".json": "application/json",
            ".mjs": "text/javascript",
            ".wasm": "application/wasm",
        }

        def log_message(self, *_):
            pass

        def translate_path(self, path: str) -> str:
            name, _, rest = path.lstrip("/").partition("/")
            self.directory = str(folders.get(name, HERE / "nothing"))
            return super().translate_path(f"/{rest}")

        def do_GET(self):
            if self.path == "/question":
                self._send(json.dumps(question).encode())
            else:
                super().do_GET()

        def do_POST(self):
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send(b"{}")

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
