"""Google's and Amazon's buckets, emulated on this machine: python -m ... gs DIR

The process writes DIR/port once it listens. DIR/failing holds how many requests
come to one that is answered by 503, 0 = none; while there is DIR/overwriting,
conditions are ignored. Both may change at any time.
"""

import functools
import http.server
import json
import logging
import pathlib
import subprocess
import sys
import threading
import time
from http import HTTPStatus

from tests.places import ROOT

BUCKET = "bucket"
# Clients: where it is, and that they need not ask who they are.
_VARIABLES = {
  "gs": {
    "STORAGE_EMULATOR_HOST": "{url}",
    "FSSPEC_GCS_TOKEN": "anon",
    "NO_GCE_CHECK": "true",
  },
  "s3": {
    "AWS_ENDPOINT_URL": "{url}",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
  },
}


class Emulator:
  """A process that emulates one kind of bucket, with BUCKET in it.

  Attributes:
    scheme: "gs" or "s3".
    environment: the variables with which clients find it.
  """

  def __init__(self, scheme: str, folder: pathlib.Path):
    self.scheme, self._folder = scheme, folder
    self.fail_every(0)
    with (folder / "log").open("w") as log:
      self._process = subprocess.Popen(
        [sys.executable, "-m", "tests.emulators", scheme, str(folder)],
        cwd=ROOT,
        stdout=log,
        stderr=log,
      )
    port = folder / "port"
    while not port.exists():
      assert self._process.poll() is None, (folder / "log").read_text()
      time.sleep(0.05)
    url = f"http://127.0.0.1:{port.read_text()}"
    self.environment = {
      name: value.format(url=url) for name, value in _VARIABLES[scheme].items()
    }

  def fail_every(self, count: int) -> None:
    """Has one of so many requests answered by 503; 0 = none, 1 = all."""
    (self._folder / "failing").write_text(str(count))

  def overwrite(self, always: bool) -> None:
    """Has files overwritten that are to be created where there is none."""
    file = self._folder / "overwriting"
    file.touch() if always else file.unlink()

  def close(self) -> None:
    self._process.kill()
    self._process.wait()


class _Failing:
  """Says of each request whether it is to fail."""

  def __init__(self, folder: pathlib.Path):
    self._file, self._count = folder / "failing", 0

  def __call__(self) -> bool:
    every = int(self._file.read_text() or 0)
    self._count += 1
    return bool(every) and self._count % every == 0


def _serve_google(folder: pathlib.Path) -> None:
  from gcp_storage_emulator import server
  from gcp_storage_emulator.exceptions import NotFound
  from gcp_storage_emulator.handlers import buckets, objects
  from gcp_storage_emulator.storage import Storage

  failing, overwriting = _Failing(folder), folder / "overwriting"
  upload = objects._multipart_upload

  def upload_if_absent(request, response, storage):
    """What Google's has and the emulator has not: ifGenerationMatch=0."""
    wanted = request.query.get("ifGenerationMatch") == ["0"]
    if wanted and not overwriting.exists():
      bucket, name = request.params["bucket_name"], request.data["meta"]["name"]
      try:
        storage.get_file_obj(bucket, name)
      except NotFound:
        return upload(request, response, storage)
      response.status = HTTPStatus.PRECONDITION_FAILED
      response.json({"error": {"message": "conditionNotMet"}})
      return None
    return upload(request, response, storage)

  objects._multipart_upload = upload_if_absent
  handle = server.Router.handle

  one_at_a_time = threading.Lock()

  def handle_or_fail(self, method):
    with one_at_a_time:
      fails = failing()
      if not fails:
        return handle(self, method)
    handler = self._request_handler
    server._read_raw_data(handler)
    text = json.dumps({"error": {"code": 503, "message": "injected"}}).encode()
    handler.send_response(503)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)
    return None

  server.Router.handle = handle_or_fail
  storage = Storage(use_memory_fs=True)
  buckets.create_bucket(BUCKET, storage)
  handler = functools.partial(server.RequestHandler, storage)
  served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  _say(folder, served.server_port)
  served.serve_forever()


def _serve_amazon(folder: pathlib.Path) -> None:
  import boto3
  from moto.server import DomainDispatcherApplication, create_backend_app
  from werkzeug.serving import make_server

  failing, overwriting = _Failing(folder), folder / "overwriting"
  whole = DomainDispatcherApplication(create_backend_app)

  def app(environ, start_response):
    if overwriting.exists():
      environ.pop("HTTP_IF_NONE_MATCH", None)
    if not failing():
      return whole(environ, start_response)
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    text = b"<Error><Code>ServiceUnavailable</Code></Error>"
    if environ["REQUEST_METHOD"] == "HEAD":
      text = b""
    start_response("503 Injected", [("Content-Length", str(len(text)))])
    return [text]

  served = make_server("127.0.0.1", 0, app, threaded=True)
  threading.Thread(target=served.serve_forever).start()
  boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{served.server_port}",
    aws_access_key_id="x",
    aws_secret_access_key="x",
    region_name="us-east-1",
  ).create_bucket(Bucket=BUCKET)
  _say(folder, served.server_port)


def _say(folder: pathlib.Path, port: int) -> None:
  (folder / "port.new").write_text(str(port))
  (folder / "port.new").rename(folder / "port")


if __name__ == "__main__":
  logging.disable(logging.WARNING)
  serve = {"gs": _serve_google, "s3": _serve_amazon}[sys.argv[1]]
  serve(pathlib.Path(sys.argv[2]))
