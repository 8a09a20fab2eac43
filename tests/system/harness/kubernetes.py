"""
The structure of the Kubernetes objects that examples/kubernetes uses, by the API reference
(core/v1, apps/v1, scheduling.k8s.io/v1; kustomize.config.k8s.io/v1beta1): names and types of
fields, what must be there, and rules between fields that an API server checks. A field that the
reference has and nobody uses is not here.
"""

import re

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
IMAGE = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[\w.-]{1,128})?")
ABSOLUTE = re.compile(r"/[^:]*")
ANY = re.compile(r".*", re.DOTALL)
CAPABILITY = re.compile(r"(?!CAP_)[A-Z_]+")


class Map:
    """Free keys of one form, and values of one type."""

    def __init__(self, key, value):
        self.key, self.value = key, value


class Object:
    """Fields by name; those with a "_" at the end must be there."""

    def __init__(self, **fields):
        self.required = {name.rstrip("_") for name in fields if name.endswith("_")}
        self.fields = {name.rstrip("_"): kind for name, kind in fields.items()}


PROBE = Object(exec_=Object(command_=[ANY]), initialDelaySeconds=int, periodSeconds=int,
               timeoutSeconds=int, successThreshold=int, failureThreshold=int)
RESOURCES = Object(requests=Map(NAME, QUANTITY), limits=Map(NAME, QUANTITY))
LABELS = Map(LABEL, LABEL)
META = Object(name_=NAME, namespace=NAME, labels=LABELS, annotations=Map(LABEL, ANY))
SECURITY = Object(
    privileged=bool, allowPrivilegeEscalation=bool, readOnlyRootFilesystem=bool, runAsUser=int,
    runAsGroup=int, runAsNonRoot=bool, capabilities=Object(add=[CAPABILITY], drop=[CAPABILITY]),
    seccompProfile=Object(type_={"RuntimeDefault", "Unconfined", "Localhost"}))
CONTAINER = Object(
    name_=NAME, image_=IMAGE, imagePullPolicy={"Always", "IfNotPresent", "Never"}, command=[ANY],
    args=[ANY], securityContext=SECURITY, resources=RESOURCES, startupProbe=PROBE,
    readinessProbe=PROBE, livenessProbe=PROBE,
    volumeMounts=[Object(name_=NAME, mountPath_=ABSOLUTE, readOnly=bool,
                         mountPropagation={"None", "HostToContainer", "Bidirectional"})])
POD = Object(
    containers_=[CONTAINER], priorityClassName=NAME, nodeSelector=LABELS, enableServiceLinks=bool,
    tolerations=[Object(key=LABEL, operator={"Exists", "Equal"}, value=ANY,
                        effect={"NoSchedule", "PreferNoSchedule", "NoExecute"})],
    automountServiceAccountToken=bool, terminationGracePeriodSeconds=int,
    securityContext=Object(runAsUser=int, runAsGroup=int, runAsNonRoot=bool, fsGroup=int),
    volumes=[Object(name_=NAME, hostPath_=Object(path_=ABSOLUTE,
                                                 type={"Directory", "DirectoryOrCreate"}))])
KINDS = {
    ("v1", "Namespace"): Object(metadata_=META),
    ("scheduling.k8s.io/v1", "PriorityClass"): Object(
        metadata_=META, value_=int, description=ANY, globalDefault=bool,
        preemptionPolicy={"Never", "PreemptLowerPriority"}),
    ("v1", "Pod"): Object(metadata_=META, spec_=POD),
    ("apps/v1", "DaemonSet"): Object(metadata_=META, spec_=Object(
        selector_=Object(matchLabels_=LABELS), template_=Object(metadata_=META, spec_=POD),
        updateStrategy=Object(type={"RollingUpdate", "OnDelete"},
                              rollingUpdate=Object(maxUnavailable=int)))),
    ("kustomize.config.k8s.io/v1beta1", "Kustomization"): Object(
        namespace=NAME, resources_=[ANY],
        images=[Object(name_=IMAGE, newName=IMAGE, newTag=ANY, digest=ANY)]),
}


def faults(kind, value, where):
    """What is wrong with a value of this type."""
    if isinstance(kind, Object):
        yield from faults_of_object(kind, value, where)
    elif isinstance(kind, list):
        if not isinstance(value, list) or not value:
            yield f"{where}: no list"
        else:
            for index, one in enumerate(value):
                yield from faults(kind[0], one, f"{where}[{index}]")
    elif isinstance(kind, Map):
        for key, one in value.items():
            yield from faults(kind.key, key, f"{where}, key")
            yield from faults(kind.value, one, f"{where}.{key}")
    elif isinstance(kind, set):
        if value not in kind:
            yield f"{where}: {value!r} is none of {sorted(kind)}"
    elif isinstance(kind, re.Pattern):
        if not isinstance(value, str) or not kind.fullmatch(value):
            yield f"{where}: {value!r}"
    elif type(value) is not kind:  # a bool is an int, too
        yield f"{where}: {value!r} is no {kind.__name__}"


def faults_of_object(kind, value, where):
    if not isinstance(value, dict):
        yield f"{where}: no object"
        return
    for name in value.keys() - kind.fields.keys():
        yield f"{where}.{name}: no such field"
    for name in kind.required - value.keys():
        yield f"{where}.{name}: missing"
    for name in value.keys() & kind.fields.keys():
        yield from faults(kind.fields[name], value[name], f"{where}.{name}")


def faults_of_pod(spec, where):
    """Rules between the fields of a Pod."""
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    used = set()
    for container in spec["containers"]:
        security = container.get("securityContext", {})
        for mount in container.get("volumeMounts", []):
            used.add(mount["name"])
            if mount.get("mountPropagation") == "Bidirectional" and not security.get("privileged"):
                yield f"{where}: Bidirectional is for privileged containers only"
        if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
            yield f"{where}: privileged without allowPrivilegeEscalation"
        limits = container.get("resources", {}).get("limits", {})
        for name, value in container.get("resources", {}).get("requests", {}).items():
            if name in limits and amount(value) > amount(limits[name]):
                yield f"{where}: more {name} requested than allowed"
    if used != set(volumes) or len(volumes) != len(used):
        yield f"{where}: volumes {volumes}, mounted are {sorted(used)}"


def amount(quantity):
    number, unit = re.fullmatch(r"([0-9.]+)(.*)", quantity).groups()
    powers = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
              "Ki": 2 ** 10, "Mi": 2 ** 20, "Gi": 2 ** 30, "Ti": 2 ** 40}
    return float(number) * powers[unit]


def check(one):
    """All that is wrong with an object."""
    identity = (one.get("apiVersion"), one.get("kind"))
    if identity not in KINDS:
        return [f"{identity}: no such kind"]
    rest = {name: value for name, value in one.items() if name not in ("apiVersion", "kind")}
    found = list(faults(KINDS[identity], rest, one["kind"]))
    if found:
        return found
    if one["kind"] == "Pod":
        found += faults_of_pod(one["spec"], "Pod")
    if one["kind"] == "DaemonSet":
        template = one["spec"]["template"]
        found += faults_of_pod(template["spec"], "DaemonSet")
        if one["spec"]["selector"]["matchLabels"].items() - template["metadata"]["labels"].items():
            found.append("DaemonSet: its selector does not select its Pods")
    return found
