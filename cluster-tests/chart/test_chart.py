"""The Helm chart, judged without a cluster: rendered by Helm's own library, then checked strictly.

Every file of helm/mainstay/ci is one case. Nothing here may need a network, a cluster or a helm binary.
The broker's own `config check` runs when MAINSTAY_BIN names the binary.
"""

import copy
import functools
import http.server
import json
import os
import pathlib
import subprocess
import threading
import tomllib

import helm_python as helm
import jsonschema
import kubernetes_validate
import pytest
import yaml
import yamllint.config
import yamllint.linter

import readme

ROOT = pathlib.Path(__file__).parents[2]
CHART = ROOT / "helm" / "mainstay"
CASES = {p.name.removesuffix("-values.yaml"): p for p in sorted(CHART.glob("ci/*-values.yaml"))}
KUBERNETES = ["1.27", "1.31", "1.34", "1.37"]
MONITOR = json.loads((pathlib.Path(__file__).parent / "servicemonitor.schema.json").read_text())

every_case = pytest.mark.parametrize("case", CASES)


def values_of(case: str) -> dict:
    return yaml.safe_load(CASES[case].read_text())


def render(values: dict) -> str:
    """All objects of one release `mainstay` in namespace `iot`, as one stream."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="mainstay", namespace="iot")
    texts = [text.strip() for name, text in files.items() if name.endswith(".yaml") and text.strip()]
    return "\n---\n".join(text.removeprefix("---\n") for text in texts) + "\n"


@functools.cache
def rendered(case: str) -> str:
    return render(values_of(case))


def parse(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def kind(objects: list[dict], wanted: str) -> list[dict]:
    return [o for o in objects if o["kind"] == wanted]


def one(objects: list[dict], wanted: str) -> dict:
    (found,) = kind(objects, wanted)
    return found


def merged(case: str) -> dict:
    with helm.Chart.load(CHART) as chart:
        return chart.merge_values(values_of(case))


def check_strictly(objects: list[dict], version: str) -> None:
    for o in objects:
        if o["kind"] == "ServiceMonitor":
            jsonschema.validate(o, MONITOR)
        else:
            kubernetes_validate.validate(o, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@every_case
def test_objects_are_valid_strictly(case, version):
    check_strictly(parse(rendered(case)), version)


def test_strict_check_refuses_an_unknown_field():
    objects = parse(rendered("monitoring"))
    one(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(jsonschema.ValidationError):
        check_strictly(objects, "1.37")
    objects = parse(rendered("monitoring"))
    one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["timeout"] = "1s"
    with pytest.raises(jsonschema.ValidationError):
        check_strictly(objects, "1.37")


def test_the_least_kubernetes_of_the_chart_is_the_least_one_tested():
    with helm.Chart.load(CHART) as chart:
        assert chart.metadata["kubeVersion"] == f">={KUBERNETES[0]}.0-0"


@every_case
def test_helm_lint_is_silent(case):
    report = helm.lint(CHART, values_of(case), strict=True, kube_version="v1.27.0")
    assert not report["messages"] and not report["errors"], report


@every_case
def test_yaml_is_tidy(case):
    config = yamllint.config.YamlLintConfig((ROOT / ".yamllint").read_text())
    for name, text in [("rendered", rendered(case)), (case, CASES[case].read_text())]:
        assert not list(yamllint.linter.run(text, config)), name


@every_case
def test_selectors_and_ports_meet_the_pods(case):
    objects = parse(rendered(case))
    pod = one(objects, "StatefulSet")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    ports = {p["name"] for c in pod["spec"]["containers"] for p in c.get("ports", [])}
    services = kind(objects, "Service")
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports
    for o in kind(objects, "PodDisruptionBudget") + kind(objects, "StatefulSet"):
        assert o["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for o in kind(objects, "NetworkPolicy"):
        assert o["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    for o in kind(objects, "ServiceMonitor"):
        wanted = o["spec"]["selector"]["matchLabels"].items()
        (scraped,) = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert {e["port"] for e in o["spec"]["endpoints"]} <= {p["name"] for p in scraped["spec"]["ports"]}


@every_case
def test_names_are_unique_and_fit(case):
    objects = parse(rendered(case))
    keys = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(set(keys)) == len(keys)
    assert max(len(o["metadata"]["name"]) for o in kind(objects, "Service")) <= 63
    # The controller-revision-hash label is the set's name and 11 characters more.
    assert len(one(objects, "StatefulSet")["metadata"]["name"]) <= 52


@every_case
def test_pods_meet_the_restricted_standard(case):
    pod = one(parse(rendered(case)), "StatefulSet")["spec"]["template"]["spec"]
    container = next(c for c in pod["containers"] if c["name"] == "mainstay")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False


@every_case
def test_probes_ask_the_admin_door(case):
    pod = one(parse(rendered(case)), "StatefulSet")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    paths = {p: container[f"{p}Probe"]["httpGet"] for p in ["startup", "readiness", "liveness"]}
    assert paths == {
        "startup": {"path": "/startupz", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
    }


@every_case
def test_nothing_is_rendered_that_is_not_built(case):
    text = rendered(case)
    assert {o["kind"] for o in parse(text)} <= {
        "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet",
    }  # fmt: skip
    assert "lifecycle" not in text and "helm.sh/hook" not in text


@every_case
def test_disruption_budget_is_for_more_than_one(case):
    budgets = kind(parse(rendered(case)), "PodDisruptionBudget")
    values = merged(case)
    assert len(budgets) == (values["pdb"]["enabled"] and values["replicaCount"] > 1)
    for budget in budgets:
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@every_case
def test_nodes_find_each_other(case):
    objects = parse(rendered(case))
    stateful = one(objects, "StatefulSet")["spec"]
    (headless,) = [s for s in kind(objects, "Service") if s["metadata"]["name"] == stateful["serviceName"]]
    assert headless["spec"]["clusterIP"] == "None" and headless["spec"]["publishNotReadyAddresses"] is True
    assert [p["port"] for p in headless["spec"]["ports"]] == [7400]
    assert stateful["podManagementPolicy"] == "Parallel"
    env = {e["name"]: e for e in stateful["template"]["spec"]["containers"][0]["env"]}
    advertise = env["MAINSTAY_CLUSTER_ADVERTISE"]["value"]
    assert env["MAINSTAY_NODE_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    for config in broker_configs(objects):
        cluster = tomllib.loads(config)["cluster"]
        names = [f"{one(objects, 'StatefulSet')['metadata']['name']}-{n}" for n in range(stateful["replicas"])]
        assert cluster["bootstrap_expect"] == stateful["replicas"]
        assert cluster["seeds"] == [f"{n}={advertise.replace('$(MAINSTAY_NODE_NAME)', n)}" for n in names]


def broker_configs(objects: list[dict]) -> list[str]:
    return [c["data"]["mainstay.toml"] for c in kind(objects, "ConfigMap") if "mainstay.toml" in c.get("data", {})]


@every_case
def test_one_config_serves_all_pods(case):
    configs = broker_configs(parse(rendered(case)))
    assert len(configs) == (case != "existing-configmap")
    for config in map(tomllib.loads, configs):
        assert "name" not in config["node"] and "advertise" not in config["cluster"]
        assert ("mqtt" in config["listeners"]) == merged(case)["listeners"]["mqtt"]["enabled"]
        for listener in config["listeners"].values():
            assert listener["proxy_protocol"] == "off" or listener["trusted_networks"]


@every_case
def test_the_broker_accepts_its_config(case, tmp_path):
    for config in broker_configs(parse(rendered(case))):
        result = config_check(tmp_path, config)
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_broker_refuses_an_unknown_key(tmp_path):
    (config,) = broker_configs(parse(rendered("default")))
    result = config_check(tmp_path, config.replace("max_voters", "max_votres"))
    assert result.returncode != 0 and "max_votres" in result.stdout + result.stderr


def config_check(folder: pathlib.Path, config: str) -> subprocess.CompletedProcess:
    binary = os.environ.get("MAINSTAY_BIN")
    if not binary:
        pytest.skip("MAINSTAY_BIN is not set: no broker has looked at the rendered configuration")
    file = folder / "mainstay.toml"
    file.write_text(config)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAINSTAY_")}
    return subprocess.run([binary, "config", "check", file], env=clean, capture_output=True, text=True, timeout=10)


def checksum(values: dict) -> str:
    return one(parse(render(values)), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]


def test_pods_restart_when_the_config_changes_and_only_then():
    first = checksum({})
    assert checksum({"config": {"limits": {"max_connections": 5}}}) != first
    assert checksum({"listeners": {"mqtt": {"enabled": True}}}) != first
    assert checksum({"service": {"type": "NodePort"}, "resources": {"requests": {"cpu": "1"}}}) == first


def test_the_default_is_tls_alone():
    (config,) = broker_configs(parse(rendered("default")))
    assert list(tomllib.loads(config)["listeners"]) == ["mqtts"]
    for service in kind(parse(rendered("default")), "Service"):
        assert not {p["port"] for p in service["spec"]["ports"]} & {1883, 9464}


def test_the_network_policy_keeps_the_admin_door_for_scrapers():
    policy = one(parse(rendered("monitoring")), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    sources = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]}
    assert sources.keys() == {"mqtts", "peer", "admin"} and sources["peer"] and sources["admin"]
    alone = one(parse(render({"networkPolicy": {"enabled": True}})), "NetworkPolicy")["spec"]
    assert [[p["port"] for p in rule["ports"]] for rule in alone["ingress"]] == [["mqtts"], ["peer"]]


TRUST = "trustedNetworks must name"
BAD = [
    ({"replicas": 3}, "replicas"),
    ({"replicaCount": 0}, "replicaCount"),
    ({"replicaCount": "3"}, "replicaCount"),
    ({"image": {"tagg": "1"}}, "tagg"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    ({"config": {"limits": {"max_conections": 1}}}, "max_conections"),
    ({"config": {"cluster": {"max_voters": 2}}}, "max_voters"),
    ({"config": {"storage": {}}}, "storage"),
    ({"listeners": {"mqtts": {"proxyProtocol": True}}}, "proxyProtocol"),
    ({"listeners": {"mqtts": {"proxyProtocol": "required"}}}, TRUST),
    ({"listeners": {"mqtt": {"enabled": True, "proxyProtocol": "optional"}}}, TRUST),
    ({"listeners": {"mqtts": {"trustedNetworks": ["10.0.0.1"]}}}, "trustedNetworks"),
    ({"service": {"type": "ExternalName"}}, "type"),
    ({"extraServices": [{"name": "headless"}]}, "extraServices"),
    ({"fullnameOverride": "a" * 46}, "fullnameOverride"),
    ({"podAntiAffinity": "medium"}, "podAntiAffinity"),
    ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
    ({"persistence": {"accessModes": ["ReadWriteMany"]}}, "accessModes"),
]


@pytest.mark.parametrize("values, named", BAD, ids=[json.dumps(v) for v, _ in BAD])
def test_bad_values_are_refused_and_named(values, named):
    with pytest.raises(helm.HelmError, match=named):
        render(copy.deepcopy(values))


class InstalledWithFiveNodes(http.server.BaseHTTPRequestHandler):
    """As much of a Kubernetes API as `lookup` asks: one ConfigMap, that of a release of five nodes."""

    CONFIG = "/api/v1/namespaces/iot/configmaps/mainstay"
    KIND = {"name": "configmaps", "singularName": "", "namespaced": True, "kind": "ConfigMap", "verbs": ["get"]}
    ANSWERS = {
        "/version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        "/api/v1": {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [KIND]},
        CONFIG: {"kind": "ConfigMap", "apiVersion": "v1", "data": {"mainstay.toml": "bootstrap_expect = 5"}},
    }
    asked: list[str] = []

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append(path)
        answer = self.ANSWERS.get(path)
        body = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def five_nodes():
    """Helm's connection to that API."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), InstalledWithFiveNodes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        content = {"apiVersion": "v1", "kind": "Config", "clusters": [there], "contexts": [context]}
        content |= {"users": [{"name": "u", "user": {}}], "current-context": "c"}
        with helm.Config(kubeconfig_content=json.dumps(content), namespace="iot", storage_driver="memory") as config:
            yield config
        server.shutdown()


@pytest.mark.parametrize("replicas", [3, 5])
def test_the_number_of_nodes_is_fixed_at_the_first_install(five_nodes, replicas):
    # The API knows too little for an install to go on: with five it ends only after the templates.
    with pytest.raises(helm.HelmError) as error:
        five_nodes.install(CHART, "mainstay", {"replicaCount": replicas}, namespace="iot", dry_run="server")
    assert InstalledWithFiveNodes.CONFIG in InstalledWithFiveNodes.asked
    assert ("replicaCount is fixed at the first install (5)" in str(error.value)) == (replicas != 5)


def test_schema_and_values_know_the_same_words():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert schema["properties"].keys() - {"global"} == values.keys()


def test_readme_is_that_of_the_values():
    assert not readme.undocumented()
    assert (CHART / "README.md").read_text() == readme.expected_readme(), "run cluster-tests/chart/readme.py --write"


@every_case
def test_notes_name_what_the_pods_wait_for(case):
    with helm.Chart.load(CHART) as chart:
        notes = chart.render(values_of(case), name="mainstay", namespace="iot")["mainstay/templates/NOTES.txt"]
    pod = one(parse(rendered(case)), "StatefulSet")["spec"]["template"]["spec"]
    for volume in pod["volumes"]:
        if volume["name"] in ["tls", "peer-tls"]:
            assert f" {volume['secret']['secretName']} " in notes
