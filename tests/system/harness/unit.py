"""A Quadlet unit, and the command that podman's generator makes of it."""

import shlex

FLAGS = {
    "Image": None, "Exec": None, "PodmanArgs": None,
    "AddCapability": "--cap-add", "DropCapability": "--cap-drop", "AddDevice": "--device",
    "Network": "--network", "ReadOnly": "--read-only", "Volume": "-v",
    "NoNewPrivileges": "--security-opt=no-new-privileges", "Notify": "--sdnotify=container",
    "HealthCmd": "--health-cmd",
}
"""Keys of [Container] that podman-systemd.unit(5) of podman 4.5 has, and what each becomes."""
BOOLEAN = {"ReadOnly", "NoNewPrivileges", "Notify"}
WORDS = {"AddCapability", "DropCapability", "PodmanArgs", "Exec"}


def read(path):
    """The sections of a unit: lists of pairs, in order, as a key may stand there many times."""
    sections = {}
    with open(path, encoding="utf-8") as file:
        for line in filter(None, map(str.strip, file)):
            if line[0] in "#;":
                continue
            if line[0] == "[":
                pairs = sections.setdefault(line[1:-1], [])
            else:
                key, _, value = line.partition("=")
                pairs.append((key, value))
    return sections


def options(pairs):
    """What podman gets for them; a key that is not known is an error."""
    result = []
    for key, value in pairs:
        flag = FLAGS[key]
        if key in BOOLEAN:
            assert value == "true", key
            result.append(flag)
        elif flag:
            result += [word for one in (value.split() if key in WORDS else [value])
                       for word in (flag, one)]
        elif key == "PodmanArgs":
            result += shlex.split(value)
    return result


def values(pairs, key):
    return [value for name, value in pairs if name == key]


def command(pairs):
    """From the options of `podman run` to the end of the command line."""
    (image,), (execute,) = values(pairs, "Image"), values(pairs, "Exec")
    return [*options(pairs), image, *shlex.split(execute)]


def words(pairs, key):
    return [word for value in values(pairs, key) for word in value.split()]
