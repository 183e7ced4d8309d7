"""The files of deploy/ and the rules of .deny.toml, each judged by the tool that will read it.

What a container engine would do (build the image, start compose.yaml) is not tried here; the parts that
can be seen without one are: the binary is static, and compose.yaml agrees with the other files.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
import yamllint.config
import yamllint.linter

from test_chart import config_check

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
LOOPBACK = {"MAINSTAY_LB_MQTTS": "127.0.0.1:8883"} | {
    f"MAINSTAY_N{n}_{door}": value
    for n in range(3)
    for door, value in {"MQTTS": f"127.0.0.1:{2001 + 10 * n}", "MQTT": f"127.0.0.1:{2000 + 10 * n}", "ADMIN": f"{2003 + 10 * n}"}.items()
}  # fmt: skip


def run(*command, **more) -> subprocess.CompletedProcess:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def haproxy_check(config: str, more: dict[str, str]) -> subprocess.CompletedProcess:
    return run("haproxy", "-c", "-f", "/dev/stdin", input=config, env=os.environ | LOOPBACK | more)


@pytest.mark.parametrize("more", [{}, {"MAINSTAY_LB_MQTT": "127.0.0.1:1883"}], ids=["tls", "tls and plain"])
def test_haproxy_accepts_its_file_without_a_warning(more):
    result = haproxy_check((DEPLOY / "haproxy.cfg").read_text(), more)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr, result.stderr


def test_haproxy_refuses_a_broken_file():
    text = (DEPLOY / "haproxy.cfg").read_text()
    assert haproxy_check(text.replace("on-marked-down shutdown-sessions", "on-marked-down close"), {}).returncode != 0


def test_haproxy_outlasts_every_keep_alive():
    hours = re.findall(r"timeout (?:client|server) (\d+)h", (DEPLOY / "haproxy.cfg").read_text())
    assert len(hours) == 2 and all(int(h) * 3600 > 1.5 * 65535 for h in hours)


def test_prometheus_accepts_its_file():
    result = run("promtool", "check", "config", DEPLOY / "prometheus.yml")
    assert result.returncode == 0, result.stderr


def test_prometheus_refuses_a_broken_file(tmp_path):
    broken = tmp_path / "prometheus.yml"
    broken.write_text((DEPLOY / "prometheus.yml").read_text().replace("target_label", "targetLabel"))
    assert run("promtool", "check", "config", broken).returncode != 0


@pytest.mark.parametrize("name", ["compose.yaml", "prometheus.yml", "prometheus-targets.yml"])
def test_yaml_is_tidy(name):
    config = yamllint.config.YamlLintConfig((ROOT / ".yamllint").read_text())
    assert not list(yamllint.linter.run((DEPLOY / name).read_text(), config))


def test_the_broker_accepts_the_config_of_compose(tmp_path):
    result = config_check(tmp_path, (DEPLOY / "mainstay.toml").read_text())
    assert result.returncode == 0, result.stdout + result.stderr


def test_compose_agrees_with_the_files_it_mounts():
    config = tomllib.loads((DEPLOY / "mainstay.toml").read_text())
    services = COMPOSE["services"]
    nodes = {s: d["environment"] for s, d in services.items() if "MAINSTAY_NODE_NAME" in d.get("environment", {})}
    assert config["cluster"]["seeds"] == [f"{n}={e['MAINSTAY_CLUSTER_ADVERTISE']}" for n, e in nodes.items()]
    assert all(e["MAINSTAY_NODE_NAME"] == n for n, e in nodes.items())
    assert services["certs"]["command"][-1] == ",".join(nodes)
    address = services["haproxy"]["networks"]["mainstay"]["ipv4_address"]
    assert config["listeners"]["mqtts"]["trusted_networks"] == [f"{address}/32"]
    targets = yaml.safe_load((DEPLOY / "prometheus-targets.yml").read_text())
    assert [t["targets"] for t in targets] == [[f"{n}:9464"] for n in nodes]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    for variable in set(re.findall(r"\$\{(MAINSTAY_N\d_(?:MQTTS|ADMIN))", (DEPLOY / "haproxy.cfg").read_text())):
        assert variable in services["haproxy"]["environment"]


def test_the_binary_is_static():
    binary = os.environ.get("MAINSTAY_BIN")
    if not binary:
        pytest.skip("MAINSTAY_BIN is not set: no binary to look at")
    assert "INTERP" not in run("readelf", "--program-headers", binary, check=True).stdout


def test_dependencies_are_licensed_and_allowed():
    rules = tomllib.loads((ROOT / ".deny.toml").read_text())
    metadata = run("cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu", cwd=ROOT)
    if metadata.returncode:
        pytest.skip(f"cargo metadata: {metadata.stderr.strip().splitlines()[-1]}")
    excepted = {e["crate"]: e["allow"] for e in rules["licenses"]["exceptions"]}
    banned = {d["crate"] for d in rules["bans"]["deny"]}
    for package in json.loads(metadata.stdout)["packages"]:
        name, expression = package["name"], package["license"] or ""
        allowed = rules["licenses"]["allow"] + excepted.get(name, [])
        assert satisfied(expression, allowed), f"{name}: {expression}"
        assert name not in banned, name


def satisfied(expression: str, allowed: list[str]) -> bool:
    """Whether an SPDX expression can be met; "/" is its old spelling of OR."""
    words = expression.replace("/", " OR ").replace(" WITH ", "+WITH+")
    known = {licence.replace(" WITH ", "+WITH+") for licence in allowed}
    truth = re.sub(r"[\w.+-]+", lambda w: {"OR": "or", "AND": "and"}.get(w[0], str(w[0] in known)), words)
    return bool(truth.strip()) and eval(truth, {"__builtins__": {}})


def test_a_licence_outside_the_list_is_seen():
    assert satisfied("(MIT OR GPL-3.0-only) AND Zlib", ["MIT", "Zlib"])
    assert not satisfied("MIT AND GPL-3.0-only", ["MIT"]) and not satisfied("", ["MIT"])
