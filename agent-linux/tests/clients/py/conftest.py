"""Starts $AGENT where py-consul's own conftest starts a container of Consul.

The fixtures are named and shaped as its tests want them; the tests themselves come from PyPI.
"""
import collections
import http.server
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid

import pytest
import requests

ConsulInstance = collections.namedtuple("ConsulInstance", ["container", "port", "version"])

START_SECONDS = 20
STOP_SECONDS = 15


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Agent:
    """An agent on free ports of 127.0.0.1, where the tests look for it."""

    def __init__(self, token=None):
        self.folder = tempfile.mkdtemp(prefix="py-consul")
        ports = dict(zip(("http", "serf_lan", "serf_wan", "server"), free_ports(4)))
        self.port = ports["http"]
        config = {
            "ports": dict(ports, https=-1, dns=-1, grpc=-1),
            "performance": {"raft_multiplier": 1},
            "enable_script_checks": True,
            "bind_addr": "127.0.0.1",
        }
        if token:
            config["primary_datacenter"] = "dc1"
            config["acl"] = {"enabled": True, "tokens": {"master": token}}
        file = os.path.join(self.folder, "agent.json")
        with open(file, "w") as out:
            json.dump(config, out)
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [os.environ["AGENT"], "agent", "-dev", "-client=127.0.0.1", "-config-file", file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        try:
            self.headers = {"X-Consul-Token": token} if token else {}
            self.until(lambda: self.get("status/leader"))
            self.until(lambda: self.get("catalog/nodes"))
            self.version = self.get("agent/self")["Config"]["Version"].strip()
        except Exception:
            self.stop()
            raise

    def get(self, path):
        """Answers the JSON found at the path, or None."""
        try:
            url = "http://127.0.0.1:%d/v1/%s" % (self.port, path)
            reply = requests.get(url, timeout=2, headers=self.headers)
        except requests.RequestException:
            return None
        return reply.json() if reply.status_code == 200 else None

    def until(self, holds):
        end = time.monotonic() + START_SECONDS
        while not holds():
            if time.monotonic() > end or self.process.poll() is not None:
                with open(self.log, errors="replace") as log:
                    raise TimeoutError("the agent does not come up: " + log.read()[-2000:])
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session", autouse=True)
def port_8500_answers():
    """Some tests check 127.0.0.1:8500, which in their container is the agent itself."""
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 8500), Quiet)
    except OSError:  # Somebody else answers there.
        yield
        return
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()


@pytest.fixture(scope="session", autouse=True)
def no_token_from_outside():
    os.environ.pop("CONSUL_HTTP_TOKEN", None)


@pytest.fixture
def consul_instance():
    agent = Agent()
    yield ConsulInstance(None, agent.port, agent.version)
    agent.stop()


@pytest.fixture
def acl_consul_instance():
    token = uuid.uuid4().hex
    agent = Agent(token)
    yield ConsulInstance(None, agent.port, agent.version), token
    agent.stop()


@pytest.fixture
def consul_port(consul_instance):
    return consul_instance.port, consul_instance.version
