"""Laws of deploy/: what it says would start, and says the same as the code."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.configuration import load
from gateway.settings import Settings
from providers.base.listing import listings
from tests.server import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
COMPOSE = ROOT / "deploy" / "compose.yaml"
CHART = ROOT / "deploy" / "helm" / "reelgate"
TEMPLATES = sorted((CHART / "templates").glob("*.yaml"))
ACTION = re.compile(r"\{\{(-?) *(toYaml +)?\.(Values|Release)\.([\w.]+)(?: *\| *(\w+)(?: +(\d+))?)? *\}\}")
"""All that our templates may do: put a value in its place. So they can be read here as Helm reads them."""
KINDS = ["ConfigMap", "CronJob", "Deployment", "Deployment", "PodDisruptionBudget", "Service"]
GRACE_SECONDS = 25
STORE_SECONDS = 600
"""What a first start after an upgrade may take, at least, to build an index over a large store."""


def value_of(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def rendered(path: Path, used: set[str]) -> Any:
    """Put the values into a template as ``helm template shop`` does, and read it."""
    trees = {"Values": yaml.safe_load((CHART / "values.yaml").read_text()), "Release": {"Name": "shop"}}

    def put(match: re.Match[str]) -> str:
        trim, dump, tree, name, then, width = match.groups()
        used.add(f"{tree}.{name}")
        value = value_of(trees[tree], name)
        text = yaml.safe_dump(value).rstrip() if dump else str(value)
        if then == "nindent":
            return "\n" + "\n".join(" " * int(width) + line if line else "" for line in text.splitlines())
        assert then in {None, "sha256sum"}, then
        assert not trim
        return hashlib.sha256(text.encode()).hexdigest() if then else text

    text = re.sub(r"\s*(\{\{-)", r"\1", path.read_text())
    whole = ACTION.sub(put, text)
    assert "{{" not in whole, f"{path.name} does what this test cannot read"
    return yaml.safe_load(whole)


@pytest.fixture(scope="module")
def chart() -> dict[str, Any]:
    return {path.stem: rendered(path, set()) for path in TEMPLATES}


def started(environ: dict[str, str], text: str | None, folder: Path) -> Settings:
    """Read the settings a container would start with, those of its image included."""
    path = None
    if text is not None:
        path = folder / "config.toml"
        path.write_text(text)
    return load(path, {**image(), **environ})


def image() -> dict[str, str]:
    """Read what the image puts into the environment."""
    return dict(re.findall(r"\b(REELGATE__\w+)=(\S+)", DOCKERFILE))


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_health_is_asked_of_the_gateway_itself(status: int, well: bool) -> None:
    """Docker's check asks the port that was set, past a proxy, and is well when the gateway is ready."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

    command = json.loads(re.findall(r"HEALTHCHECK .*CMD (\[.*\])", DOCKERFILE)[0])
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        environ = {**image(), "REELGATE__SERVER__PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:1"}
        done = subprocess.run([sys.executable, *command[1:]], env=os.environ | environ, check=False)
        server.shutdown()

    assert command[0] == "python"
    assert (done.returncode == 0) == well


def test_both_commands_answer_where_the_image_is_asked(tmp_path: Path) -> None:
    """Without a word of the operator's, ``serve`` and ``work`` are at the port that is exposed and asked."""
    settings = started({}, None, tmp_path)

    assert settings.server.port == settings.worker.port == int(image()["REELGATE__SERVER__PORT"])
    assert f"\nEXPOSE {settings.server.port}\n" in DOCKERFILE


def test_whoever_the_cluster_runs_it_as_can_keep_what_it_makes() -> None:
    """The user has a number, which is how clusters know that it is not root; group 0 may write, as OpenShift's do."""
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["10001"]
    assert "useradd --uid 10001 " in DOCKERFILE
    assert "install -d -o reelgate -g root -m 770 /data\n" in DOCKERFILE
    assert "COPY --chmod=644 config.toml " in DOCKERFILE  # Who builds it may keep files to himself.


def test_compose_starts_what_there_is(tmp_path: Path) -> None:
    """Gateways leave the work to workers, all on one database and one volume, the password from outside."""
    said = yaml.safe_load(COMPOSE.read_text())
    services = said["services"]
    assert set(services) == {"gateway", "worker", "postgres"}
    assert services["worker"]["command"] == ["work"]
    for name in ("gateway", "worker"):
        service = services[name]
        settings = started(service["environment"], None, tmp_path)
        assert settings.store.url == "postgresql://reelgate@postgres/reelgate"
        assert (settings.worker.enabled, settings.worker.port) == (False, 8080)
        assert service["environment"]["REELGATE_STORE_PASSWORD"].startswith("${REELGATE_STORE_PASSWORD:?")
        assert service["volumes"] == ["media:/data", "../config.toml:/etc/reelgate/config.toml:ro"]
        assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert int(service["stop_grace_period"].rstrip("s")) > GRACE_SECONDS
    used = {mount.partition(":")[0] for service in services.values() for mount in service["volumes"]}
    assert used == {*said["volumes"], "../config.toml"}
    assert said["name"] == "reelgate"  # That of the folder is the project's else, and every other deploy/ is of it too.


def test_what_the_operator_is_told_to_set_is_asked_for() -> None:
    """The providers' keys that these files name in their words are keys of listings."""
    said = re.findall(r"\.env beside this file \((\w+)=", COMPOSE.read_text())
    said += re.findall(r"--from-literal=(\w+)=", (CHART / "values.yaml").read_text())
    asked = {each.name for listing in listings().values() for each in listing.secrets}

    assert len(said) == 3
    assert set(said) <= asked | {"REELGATE_STORE_PASSWORD"}


def test_the_chart_is_whole(chart: dict[str, Any]) -> None:
    """Two deployments, what cleans up, the service and its budget, the configuration; every value is used."""
    used: set[str] = set()
    for path in TEMPLATES:
        rendered(path, used)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    leaves = {
        f"Values.{name}.{key}" if isinstance(value, dict) else f"Values.{name}"
        for name, value in values.items()
        for key in (value if isinstance(value, dict) else [""])
    }

    assert sorted(each["kind"] for each in chart.values()) == KINDS
    assert used == leaves | {"Release.Name"}
    meta = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (meta["apiVersion"], meta["name"]) == ("v2", "reelgate")
    assert f'version = "{meta["appVersion"]}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_a_pod_would_start(chart: dict[str, Any], name: str, tmp_path: Path) -> None:
    """Its settings are read as the code reads them, its probes ask what is answered, its parts refer to each other."""
    deployment = chart[name]
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    settings = started(environ, chart["config"]["data"]["config.toml"], tmp_path)

    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert container["args"] == [{"gateway": "serve", "worker": "work"}[name]]
    assert settings.store.url.startswith("postgresql://")
    assert settings.server.host == "0.0.0.0"
    assert settings.worker.enabled == (name == "worker")
    port = settings.worker.port if name == "worker" else settings.server.port
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    for probe, path in {"startup": "live", "liveness": "live", "readiness": "ready"}.items():
        assert container[f"{probe}Probe"]["httpGet"] == {"path": f"/health/{path}", "port": "http"}
    patience = container["startupProbe"]
    assert patience["periodSeconds"] * patience["failureThreshold"] >= STORE_SECONDS
    stop = container.get("lifecycle", {"preStop": {"exec": {"command": ["sleep", "0"]}}})["preStop"]["exec"]["command"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > GRACE_SECONDS + int(stop[1])
    assert (int(stop[1]) > 0) == (name == "gateway")  # It answers until no call is sent to it any more.
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["spec"]["volumes"]}
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == chart["config"]["metadata"]["name"]
    assert container["envFrom"] == [{"secretRef": {"name": "reelgate"}}]
    assert environ["REELGATE_CONFIG"] == "/etc/reelgate/config.toml"
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert not pod["spec"]["enableServiceLinks"]  # Another's service is no setting of ours.
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_cleaning_sees_what_the_workers_keep(chart: dict[str, Any]) -> None:
    """It has their volume, their secret and their words for where media and rows lie, and runs once a day."""
    spec = chart["cleaning"]["spec"]
    pod, worker = spec["jobTemplate"]["spec"]["template"]["spec"], chart["worker"]["spec"]["template"]["spec"]
    (cleans,), (works,) = pod["containers"], worker["containers"]
    said = [each for each in works["env"] if each["name"].partition("__")[2][:5] in {"STORE", "MEDIA"}]

    assert (cleans["args"], spec["concurrencyPolicy"]) == (["media", "gc"], "Forbid")
    assert len(said) == 3
    assert all(each in cleans["env"] for each in said)
    for name in ("volumes", "securityContext", "serviceAccountName", "imagePullSecrets", "enableServiceLinks"):
        assert pod[name] == worker[name]
    for name in ("envFrom", "image", "securityContext", "volumeMounts"):
        assert cleans[name] == works[name]


def test_an_object_store_needs_no_volume(chart: dict[str, Any], tmp_path: Path) -> None:
    """With the words the chart gives for one, a pod's settings are read and nothing is claimed."""
    environ = {
        each["name"]: each["value"] for each in chart["worker"]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    said = re.findall(r"^#   (\w+): (\S+|\{.*\})  +\(", (CHART / "values.yaml").read_text(), re.MULTILINE)
    given = {name: yaml.safe_load(value) for name, value in said}
    settings = started({**environ, "REELGATE__MEDIA__URL": given["url"]}, None, tmp_path)

    assert given == {"url": "s3://bucket/prefix", "volume": {"emptyDir": {}}}
    assert (settings.media.in_folder, settings.media.folder) == (False, Path("/data/local"))


def test_the_service_finds_the_gateways_only(chart: dict[str, Any]) -> None:
    """Workers are never sent a client's call."""
    wanted = chart["service"]["spec"]["selector"].items()

    assert wanted <= chart["gateway"]["spec"]["template"]["metadata"]["labels"].items()
    assert not wanted <= chart["worker"]["spec"]["template"]["metadata"]["labels"].items()


def test_the_budget_is_of_the_gateways(chart: dict[str, Any]) -> None:
    """While nodes are emptied one gateway is away at a time; a single one keeps no node from it."""
    spec = chart["disruption"]["spec"]

    assert spec["maxUnavailable"] == 1
    assert spec["selector"] == chart["gateway"]["spec"]["selector"]


def test_helm_agrees(chart: dict[str, Any]) -> None:
    """Where Helm is, it lints the chart and renders what is read here."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not here; the chart is read without it")
    subprocess.run(["helm", "lint", "--strict", CHART], check=True)
    done = subprocess.run(["helm", "template", "shop", CHART], check=True, capture_output=True, text=True)
    written = sorted(yaml.safe_load_all(done.stdout), key=str)

    assert written == sorted(chart.values(), key=str)
