"""deploy/kubernetes.yaml fits the schemas of its kinds, and says of the cluster what compose/cluster.yml says."""

from __future__ import annotations

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# The newest release is what most hosted clusters have within a year; fields in use are as old as apps/v1.
RELEASES = ("1.27", "1.31", "newest")
# Of rabbitmq.com/v1beta1, as far as these fields go: no schema of the operator's kind comes with a package.
CLUSTER_FIELDS = {
    "": {"replicas", "image", "resources", "persistence", "affinity", "tls", "service", "rabbitmq"},
    "persistence": {"storage", "storageClassName"},
    "tls": {"secretName", "caSecretName", "disableNonTLSListeners"},
    "service": {"type", "annotations"},
    "rabbitmq": {"additionalPlugins", "additionalConfig", "advancedConfig", "envConfig"},
}
LONGEST_CONFIG = 2000

Spec = dict[str, Any]


def documents() -> dict[str, Spec]:
    return {each["kind"]: each for each in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())}


def settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.]+) = (.*)$", text, re.MULTILINE))


@pytest.fixture
def schemas() -> Any:
    """kubernetes_validate. To import it takes a second, which is more than the collection of all other tests."""
    return importlib.import_module("kubernetes_validate")


def validate(schemas: Any, document: Spec, release: str) -> None:
    schemas.validate(document, schemas.latest_version() if release == "newest" else release, strict=True)


@pytest.mark.xdist_group("kubernetes")
@pytest.mark.parametrize("release", RELEASES)
def test_the_deployment_fits_its_schema(schemas: Any, release: str) -> None:
    """Strictly: a name that the schema does not know is an error."""
    deployment = documents()["Deployment"]
    validate(schemas, deployment, release)
    wrong = copy.deepcopy(deployment)
    wrong["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(schemas.ValidationError):
        validate(schemas, wrong, release)


@pytest.mark.xdist_group("kubernetes")
@pytest.mark.parametrize("release", RELEASES)
def test_what_the_cluster_says_of_its_pods_fits_a_pod_s_schema(schemas: Any, release: str) -> None:
    spec = documents()["RabbitmqCluster"]["spec"]
    container = {"name": "rabbitmq", "image": spec["image"], "resources": spec["resources"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}}
    validate(schemas, {**pod, "spec": {"affinity": spec["affinity"], "containers": [container]}}, release)


def test_the_cluster_has_fields_that_its_operator_knows() -> None:
    cluster = documents()["RabbitmqCluster"]
    assert cluster["apiVersion"] == "rabbitmq.com/v1beta1"
    for part, known in CLUSTER_FIELDS.items():
        assert (cluster["spec"][part] if part else cluster["spec"]).keys() <= known
    rabbitmq = cluster["spec"]["rabbitmq"]
    assert len(rabbitmq["additionalConfig"]) <= LONGEST_CONFIG
    assert all(re.fullmatch(r"\w+", plugin) for plugin in rabbitmq["additionalPlugins"])


def test_the_cluster_is_set_as_that_of_compose() -> None:
    """But for those who come without a certificate, and TLS, which stands in another file there."""
    spec = documents()["RabbitmqCluster"]["spec"]
    here = settings(spec["rabbitmq"]["additionalConfig"])
    there = settings((ROOT / "cloud_rabbitmq" / "rabbitmq.conf").read_text())
    differing = {name for name, value in here.items() if there.get(name) != value}
    assert differing == {"mqtt.allow_anonymous", "ssl_options.verify", "ssl_options.fail_if_no_peer_cert"}
    patience = re.compile(r"\{kernel, \[.*?\]\}")
    compose_advanced = (ROOT / "cloud_rabbitmq" / "advanced.config").read_text()
    assert patience.findall(spec["rabbitmq"]["advancedConfig"]) == patience.findall(compose_advanced) != []
    plugins = set(re.findall(r"\w+", (ROOT / "cloud_rabbitmq" / "enabled_plugins").read_text()))
    # The operator itself enables this one.
    assert plugins - set(spec["rabbitmq"]["additionalPlugins"]) == {"rabbitmq_prometheus"}
    compose = yaml.load((ROOT / "compose" / "cluster.yml").read_text().replace("!reset", ""), yaml.SafeLoader)
    assert spec["image"] == compose["x-node"]["image"]


def test_the_saver_s_pods_may_do_no_more_than_its_container() -> None:
    """And each setting that stands in the environment is one of its settings."""
    (container,) = documents()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    known = (ROOT / "docs" / "settings.md").read_text()
    assert all(f"`{variable['name']}`" in known for variable in container["env"])
