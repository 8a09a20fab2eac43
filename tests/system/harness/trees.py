"""Directory trees to copy, and what must be equal in their copies."""

import hashlib
import os
import random
import stat


def make_tree(root, files=60, seed=1):
    """A tree with what tools have to get right: sparse files, links, modes, times, odd names."""
    rng = random.Random(seed)
    directories = [root]
    for index in range(8):
        directory = os.path.join(rng.choice(directories), f"dir {index}")
        os.makedirs(directory)
        directories.append(directory)
    paths = []
    for index in range(files):
        path = os.path.join(rng.choice(directories), f"file-{index}-ä€\t'\"")
        with open(path, "wb") as file:
            file.write(rng.randbytes(rng.choice([0, 1, 4095, 4097, 70_000])))
        os.chmod(path, rng.choice([0o600, 0o644, 0o4755, 0o2755, 0o000]))
        os.utime(path, ns=(10**18 + index, 10**18 + 7 * index))
        paths.append(path)
    os.link(paths[0], os.path.join(root, "hard link"))
    os.link(paths[0], os.path.join(directories[-1], "hard link"))
    os.symlink("../nowhere", os.path.join(root, "symlink"))
    os.mkfifo(os.path.join(root, "fifo"))
    with open(os.path.join(root, "sparse"), "wb") as sparse:
        sparse.truncate(8 << 20)
        sparse.seek(5 << 20)
        sparse.write(b"in the middle")
    os.setxattr(paths[1], "user.colour", b"blue\0\xff")
    return root


def digest(path):
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path, root):
    """One line of a manifest: everything of a file that a faithful copy keeps."""
    facts = os.lstat(path)
    kind = stat.S_IFMT(facts.st_mode)
    line = [os.path.relpath(path, root), oct(facts.st_mode), facts.st_uid, facts.st_gid]
    if kind == stat.S_IFREG:
        line += [facts.st_size, facts.st_nlink, facts.st_mtime_ns, digest(path)]
        line += [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
    if kind == stat.S_IFLNK:
        line.append(os.readlink(path))
    return tuple(line)


def manifest(root):
    """What a tree contains, for comparison with ==."""
    lines = []
    for directory, directories, files in os.walk(root):
        lines += [describe(os.path.join(directory, name), root) for name in directories + files]
    return sorted(lines, key=lambda line: line[0])


def contents(root):
    """Only names and data, for tools that keep no more."""
    return {os.path.relpath(os.path.join(directory, name), root): digest(os.path.join(directory, name))
            for directory, _, files in os.walk(root) for name in files
            if os.path.isfile(os.path.join(directory, name))}
