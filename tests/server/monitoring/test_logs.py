"""Test the log: JSON lines of a real server, the access log, request ids."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import resource
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import pytest

from ganserve.v1 import gan_service_pb2
from ganserve_server.monitoring.access_log import AccessLog
from ganserve_server.monitoring.call_tracking import Call, current_call
from ganserve_server.monitoring.file_descriptors import watch_descriptors
from ganserve_server.monitoring.logs import JsonFormatter, TextFormatter, _add_request_id, _tells_something
from server_process import running_server
from stubs import TIMEOUT_S, connected
from tiny_packages import build_tiny_package, read_manifest, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_every_line_of_a_server_is_json(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny")
    # onnxruntime logs a message of its own about this package.
    broken = build_tiny_package(tmp_path, "broken")
    spec = read_manifest(broken)
    spec.label_names.append("one too many")
    write_manifest(broken, spec)
    flags = ("--log-format", "json", "--access-log", "all", "--metrics-port", "0")
    with running_server(tmp_path, *flags) as server, connected(server.address) as stubs:
        own = [("x-request-id", "order-1")]
        stubs.gan.Sample(gan_service_pb2.SampleRequest(model="tiny", count=2), metadata=own, timeout=TIMEOUT_S)
        with pytest.raises(grpc.RpcError):
            stubs.gan.Sample(gan_service_pb2.SampleRequest(model="nö\npe"), timeout=TIMEOUT_S)
        stubs.stream(model="tiny", count=3)
        server.terminate()
        assert server.wait() == 0
        lines = [json.loads(line) for line in server.log.splitlines()]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in ("info", "warning")
        assert line["logger"].startswith("ganserve_server.")
        assert line["message"]
    messages = [line["message"] for line in lines]
    assert any(message.startswith("serving on 127.0.0.1:") for message in messages)
    assert any(message == "config   log_format = json (--log-format)" for message in messages)
    sample, refused, stream = (line for line in lines if line["logger"] == "ganserve_server.access")
    assert sample["request_id"] == "order-1"
    assert (sample["method"], sample["code"]) == ("/ganserve.v1.GanService/Sample", "OK")
    assert sample["model"] == "tiny"
    assert sample["duration_ms"] > 0
    assert re.match(r"ipv[46]:", sample["peer"])
    assert (refused["code"], refused["model"]) == ("NOT_FOUND", "nö\npe")
    assert "there is no model" in refused["message"]
    assert len(refused["request_id"]) == 16
    assert (stream["method"], stream["code"]) == ("/ganserve.v1.GanService/StreamSamples", "OK")
    assert stream["model"] == "tiny"


def test_a_refusal_to_start_is_logged_as_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ganserve_server", "--models", str(tmp_path / "x"), "--port", "0"]
    result = subprocess.run([*command, "--log-format", "json"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    last = json.loads(result.stderr.splitlines()[-1])
    assert last["level"] == "critical"
    assert "there is no such folder" in last["message"]


def test_by_default_failed_calls_are_logged_with_their_id(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny")
    with running_server(tmp_path) as server, connected(server.address) as stubs:
        stubs.sample(count=1)
        with pytest.raises(grpc.RpcError):
            stubs.gan.Sample(
                gan_service_pb2.SampleRequest(label_names=["x"]),
                metadata=[("x-request-id", "order-2")],
                timeout=TIMEOUT_S,
            )
        line = server.wait_for(re.compile(r"^.* INFO ganserve_server\.access: .*$", re.MULTILINE))[0]
        assert "/ganserve.v1.GanService/Sample INVALID_ARGUMENT in " in line
        assert line.endswith("[request id order-2]")
        assert server.log.count("ganserve_server.access") == 1


def test_log_lines_of_a_call_carry_its_id(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("ganserve_server.test")
    token = current_call.set(Call("/x/Y", (("x-request-id", "order-3"),)))
    try:
        with caplog.at_level(logging.INFO):
            logger.info("two\nlines", extra={"samples": 3})
        record = caplog.records[-1]
        assert _add_request_id(record)
    finally:
        current_call.reset(token)
    text = TextFormatter().format(record)
    assert text.endswith("INFO ganserve_server.test: two\\nlines [request id order-3]")
    fields = json.loads(JsonFormatter().format(record))
    assert fields["request_id"] == "order-3"
    assert fields["samples"] == 3
    assert fields["message"] == "two\nlines"


def test_what_clients_send_cannot_control_a_terminal() -> None:
    try:
        raise ValueError("\x1b[2J gone")
    except ValueError:
        record = logging.makeLogRecord({"msg": "no model '\x1b]0;mine\x07\u202e'", "exc_info": sys.exc_info()})
    message, *traceback = TextFormatter().format(record).splitlines()
    assert message.endswith(r"no model '\x1b]0;mine\x07\u202e'")
    assert traceback[-1] == r"ValueError: \x1b[2J gone"
    assert all(line.isprintable() for line in traceback)


def test_an_exception_stays_on_its_json_line() -> None:
    try:
        raise ValueError("what happened")
    except ValueError:
        record = logging.makeLogRecord({"msg": "it failed", "levelname": "ERROR", "exc_info": sys.exc_info()})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: what happened" in json.loads(line)["exception"]


def test_clients_that_leave_are_no_errors() -> None:
    """The text is gRPC's own: a client must leave at one moment to cause it."""
    text = "%s raised in core by servicer method [%s]"
    for name, logged in (("ExecuteBatchError", False), ("KeyError", True)):
        message = text % (name, "/ganserve.v1.GanService/Sample")
        record = logging.LogRecord("grpc._cython.cygrpc", logging.ERROR, "", 0, message, (), None)
        assert _tells_something(record) is logged


def test_running_out_of_file_descriptors_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        watching = asyncio.create_task(watch_descriptors(check_s=0, quiet_s=3600))
        for _ in range(3):  # one check each
            await asyncio.sleep(0)
        assert not caplog.records
        with socket.socket() as probe:
            lowest = probe.fileno()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        watching.cancel()
        (record,) = caplog.records
        message = f"new connections are not accepted: Too many open files (this process may have {lowest}); raise"
        assert record.getMessage().startswith(message)

    asyncio.run(scenario())


def test_a_flood_of_failed_calls_is_logged_only_in_part(caplog: pytest.LogCaptureFixture) -> None:
    access, call = AccessLog(), Call("/x/Y", ())
    call.code = "RESOURCE_EXHAUSTED"
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            if access.wants(call.code):
                access.write(call, 0.001, "ipv4:1")
        assert 10 <= len(caplog.records) < 100
        assert access.wants("NOT_FOUND"), "a flood of one status must not hide others"
        access._allowances[call.code]._lines = 1.0
        assert access.wants(call.code)
        access.write(call, 0.001, "ipv4:1")
    total = sum(getattr(record, "left_out", 0) for record in caplog.records)
    assert total + len(caplog.records) == 1001
    assert caplog.records[-1].message.endswith("more calls with this status were left out)")


@pytest.mark.parametrize(
    ("level", "ok", "failed"), [("all", True, True), ("errors", False, True), ("off", False, False)]
)
def test_the_access_logs_levels(level: str, ok: bool, failed: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert (AccessLog(level).wants("OK"), AccessLog(level).wants("INTERNAL")) == (ok, failed)
    with caplog.at_level(logging.ERROR, logger="ganserve_server.access"):
        assert not AccessLog(level).wants("INTERNAL")
