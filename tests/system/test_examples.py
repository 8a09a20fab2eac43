"""Examples that are descriptions: what they say is what those who read them understand."""

import os
import re
import shlex
import shutil

import pytest
import yaml

from harness import kubernetes, unit
from harness.people import sh

CANNOT = "this machine cannot: "


@pytest.fixture
def example(checkout):
    return lambda name: os.path.join(checkout, "examples", name)


def load(path):
    with open(path, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def manifests(example):
    (kustomization,) = load(example("kubernetes/kustomization.yaml"))
    return kustomization, [one for name in kustomization["resources"]
                           for one in load(example(f"kubernetes/{name}"))]


def test_kubernetes(example):
    """Each object has the fields and types of its kind, and no others."""
    kustomization, objects = manifests(example)
    assert [fault for one in (kustomization, *objects) for fault in kubernetes.check(one)] == []
    assert sorted(one["kind"] for one in objects) == ["DaemonSet", "Namespace", "Pod", "Pod",
                                                      "PriorityClass"]
    assert set(os.listdir(example("kubernetes"))) == {"kustomization.yaml",
                                                      *kustomization["resources"]}
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == len(objects)


def put(one, path, value):
    *parents, last = path
    for name in parents:
        one = one[name]
    one[last] = value


CONTAINER = ["spec", "template", "spec", "containers", 0]


@pytest.mark.parametrize("path, value, told", [
    ([*CONTAINER, "volumeMount"], [], "no such field"),
    ([*CONTAINER, "securityContext", "privileged"], "true", "no bool"),
    ([*CONTAINER, "securityContext", "privileged"], False, "Bidirectional"),
    ([*CONTAINER, "livenessProbe", "periodSeconds"], "5s", "no int"),
    ([*CONTAINER, "resources", "limits", "memory"], "1Mi", "more memory"),
    ([*CONTAINER, "resources", "limits", "memory"], "much", "much"),
    ([*CONTAINER, "volumeMounts", 0, "mountPropagation"], "Both", "none of"),
    ([*CONTAINER, "volumeMounts", 0, "name"], "runs", "mounted are"),
    (["spec", "selector"], {"matchLabels": {"app": "x"}}, "does not select"),
    (["spec", "template", "spec", "containers"], [], "no list"),
    (["apiVersion"], "v1", "no such kind"),
    (["metadata"], {}, "missing"),
])
def test_kubernetes_faults(example, path, value, told):
    """The check of the manifests finds what an API server would refuse."""
    (one,) = [each for each in manifests(example)[1] if each["kind"] == "DaemonSet"]
    put(one, path, value)
    assert told in " ".join(kubernetes.check(one))


def test_same_rights_everywhere(example, checkout):
    """README.md, the image, compose file, Quadlet unit, DaemonSet and service give the daemon the
    same capabilities (to compose also what docker needs, to the service what gives udev's socket a
    large queue, and what finds the disks again after a restart)."""
    def listed(name):
        with open(os.path.join(checkout, name), encoding="utf-8") as file:
            lines = re.findall(r"--cap-add ([A-Z_,]+)", file.read())
        return {word for line in lines for word in line.split(",")}

    rights = listed("README.md")
    assert len(rights) == 15 and listed("examples/container/Containerfile") == rights
    compose = load(example("compose.yaml"))[0]["services"]["hotplugfs"]
    assert set(compose["cap_add"]) == rights | {"SYS_CHROOT"} and compose["cap_drop"] == ["ALL"]
    container = unit.read(example("hotplugfs.container"))["Container"]
    assert set(unit.words(container, "AddCapability")) == rights
    (daemonset,) = [one for one in manifests(example)[1] if one["kind"] == "DaemonSet"]
    command = daemonset["spec"]["template"]["spec"]["containers"][0]["command"]
    (bounding,) = [word for word in command if word.startswith("--bounding-set=-all,")]
    assert set(re.findall(r"\+(\w+)", bounding)) == {name.lower() for name in rights}
    service = unit.read(example("hotplugfs.service"))["Service"]
    assert {name.removeprefix("CAP_") for name in unit.words(service, "CapabilityBoundingSet")} == \
        rights | {"NET_ADMIN", "SYS_CHROOT"}


def test_service(machine, example, request):
    """systemd finds no fault with the unit, and rates it as well locked up, without anything that
    would hide the view from others."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    os.makedirs("/usr/local/sbin", exist_ok=True)
    shutil.copy(request.config.option.hotplugfs, "/usr/local/sbin/hotplugfs")
    path = "/etc/systemd/system/hotplugfs.service"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copy(example("hotplugfs.service"), path)
    verify = sh("systemd-analyze verify --man=no --recursive-errors=no $1 2>&1", path, check=False)
    assert (verify.returncode, verify.stdout) == (0, "")
    security = sh("systemd-analyze security --offline=yes --no-pager $1", path)
    exposure = float(re.search(r"Overall exposure level.*: ([0-9.]+)", security).group(1))
    assert exposure < 5.5, security


def test_service_faults(work):
    """verify would find a mistake."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    path = os.path.join(work, "wrong.service")
    with open(path, "w", encoding="ascii") as file:
        file.write("[Service]\nExecStart=/no/such/program\nTyp=notify\n")
    assert sh("systemd-analyze verify --man=no $1", path, check=False).returncode != 0


OF_ITS_OWN = "--name systemd-%n --cidfile=%t/%n.cid --replace --rm --cgroups=split -d".split()
"""What the generator adds to every unit, but for upper case."""


def test_quadlet(example, work):
    """podman's own generator, where it is there ($QUADLET), makes of the unit what the tests run."""
    generator = os.environ.get("QUADLET", "/usr/libexec/podman/quadlet")
    expected = unit.command(unit.read(example("hotplugfs.container"))["Container"])
    assert expected[-3:] == ["localhost/hotplugfs:latest", "mount", "/run/hotplugfs/media"]
    if not os.path.exists(generator):
        pytest.skip(CANNOT + "this podman has no quadlet")
    shutil.copy(example("hotplugfs.container"), work)
    made = sh('QUADLET_UNIT_DIRS="$1" "$2" -dryrun 2>&1', work, generator)
    (start,) = re.findall(r"^ExecStart=\S*podman run (.*)$", made, re.MULTILINE)
    words = [word.lower() for word in shlex.split(start)]
    assert sorted(words) == sorted(OF_ITS_OWN + [word.lower() for word in expected])
    assert words[-3:] == expected[-3:]


def test_every_file(example):
    """The map of the examples names each of them."""
    with open(example("README.md"), encoding="utf-8") as file:
        named = set(re.findall(r"`([\w./-]+)`", file.read()))
    for name in os.listdir(os.path.dirname(example("x"))):
        there = f"{name}/" if os.path.isdir(example(name)) else name
        assert name == "README.md" or there in named, name
