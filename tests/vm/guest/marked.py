"""Sectors of which each tells what file it belongs to, where in it, and in which version."""

SIZE = 512


def sector(path, version, index):
    line = f"{path} {version} {index}\n".encode()
    return (line * (SIZE // len(line) + 1))[:SIZE]


def sectors(path, version, first, count):
    return b"".join(sector(path, version, index) for index in range(first, first + count))


def version_of(data, path, index):
    """That of a whole sector of this file at this place; None if it is not one."""
    words = data.partition(b"\n")[0].split(b" ")
    if len(words) != 3 or not words[1].isdigit():
        return None
    version = int(words[1])
    return version if data == sector(path, version, index) else None
