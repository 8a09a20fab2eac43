"""
An empty HFS Plus volume, which no Debian package can make. The format is that of Apple's Technical
Note TN1150; all numbers are big-endian.
"""

import struct
import time

BLOCK = 4096
NODE = BLOCK
NAMES = 64
"""Nodes of the catalog, one block each."""
EPOCH = 2082844800
"""Seconds from 1904, where its times begin, to 1970."""
HEADER_NODE, LEAF_NODE = 1, -1
BIG_KEYS, VARIABLE_INDEX_KEYS = 2, 4
CASE_FOLDING = 0xCF
ROOT = 2
"""The number of the root folder."""
UNMOUNTED = 0x100


def node(kind, height, records):
    """A node of a B-tree: what it is, its records, and at its end where they begin."""
    data = struct.pack(">IIbBHH", 0, 0, kind, height, len(records), 0)
    offsets = []
    for record in records:
        offsets.append(len(data))
        data += record
    offsets.append(len(data))
    tail = b"".join(struct.pack(">H", offset) for offset in reversed(offsets))
    return data + bytes(NODE - len(data) - len(tail)) + tail


def header_node(nodes, leaf_records, longest_key, compare, attributes):
    """Of a tree whose only node beside this one is a leaf, if it has records."""
    used = 2 if leaf_records else 1
    leaf = used - 1
    header = struct.pack(">HIIIIHHIIHIBBI64x", leaf, leaf, leaf_records, leaf, leaf, NODE,
                         longest_key, nodes, nodes - used, 0, NODE, 0, compare, attributes)
    bits = (0x80 | 0x40 * leaf).to_bytes(1, "big")
    rest = NODE - 14 - len(header) - 128 - 4 * 2
    return node(HEADER_NODE, 0, [header, bytes(128), bits + bytes(rest - 1)])


def key(parent, name):
    text = name.encode("utf-16-be")
    return struct.pack(">HIH", 6 + len(text), parent, len(text) // 2) + text


def catalog(label, now):
    """The root folder, and the way back from its number to its name."""
    name = label.encode("utf-16-be")
    rights = struct.pack(">IIBBHI", 0, 0, 0, 0, 0o040755, 0)
    folder = struct.pack(">hHII5I", 1, 0, 0, 2, *[now] * 5) + rights + bytes(32 + 8)
    thread = struct.pack(">hhIH", 3, 0, 1, len(name) // 2) + name
    leaf = node(LEAF_NODE, 1, [key(1, label) + folder, key(2, "") + thread])
    return header_node(NAMES, 2, 516, CASE_FOLDING, BIG_KEYS | VARIABLE_INDEX_KEYS) + leaf


def fork(first, blocks):
    """A file of the volume's own, in one piece."""
    return struct.pack(">QII16I", blocks * BLOCK, BLOCK, blocks, first, blocks, *[0] * 14)


def volume_header(total, free, serial, now, forks):
    facts = struct.pack(">HH17IQ", 0x482B, 4, UNMOUNTED, 0x31302E30, 0, now, now, 0, now, 0, 0, BLOCK,
                        total, free, 0, BLOCK, BLOCK, 16, 0, 1)
    return facts + bytes(24) + serial + b"".join(forks) + fork(0, 0) * 2


def make(path, label, serial):
    """Makes the volume in the file, which has its length already; serial: eight bytes."""
    now = int(time.time()) + EPOCH
    with open(path, "r+b") as file:
        total = file.seek(0, 2) // BLOCK
        map_blocks = -(-total // (8 * BLOCK))
        extents = 1 + map_blocks
        names = extents + 1
        used = names + NAMES
        bits = (1 << total) - (1 << (total - used)) | 1  # the last one has the spare header
        bitmap = (bits << (-total % 8)).to_bytes(-(-total // 8), "big")
        header = volume_header(total, total - used - 1, serial, now, [
            fork(1, map_blocks), fork(extents, 1), fork(names, NAMES)])
        for at, data in ((1024, header), (BLOCK, bitmap),
                         (extents * BLOCK, header_node(1, 0, 10, 0, BIG_KEYS)),
                         (names * BLOCK, catalog(label, now)), (total * BLOCK - 1024, header)):
            file.seek(at)
            file.write(data)


# What a checker finds.

FOLDER, FILE = 1, 2
FORKS = {"map": 112, "extents": 192, "catalog": 272, "attributes": 352}
"""Of the volume header: where a description of each of the volume's own files is."""


class Volume:
    """Reads a volume that is not in use."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.header = self.data[1024:1536]
        (self.attributes,) = struct.unpack_from(">I", self.header, 4)
        numbers = struct.unpack_from(">5I", self.header, 32)
        self.files, self.folders, _, self.total, self.free = numbers
        self.used = []  # first block and count of each piece of a file

    def pieces(self, fork_data):
        """Of a file: first blocks and counts, as far as its own record has them."""
        numbers = struct.unpack_from(">16I", fork_data, 16)
        found = [piece for piece in zip(numbers[::2], numbers[1::2]) if piece[1]]
        self.used += found
        return found

    def content(self, name):
        pieces = self.pieces(self.header[FORKS[name]:])
        return b"".join(self.data[first * BLOCK:(first + count) * BLOCK] for first, count in pieces)

    @staticmethod
    def leaves(tree):
        """The records of a B-tree, in their order: keys and data."""
        count, number = struct.unpack_from(">II", tree, 14 + 6)
        found = []
        while number:
            node_data = tree[number * NODE:(number + 1) * NODE]
            found += records_of(node_data)
            (number,) = struct.unpack_from(">I", node_data)
        return count, found

    @staticmethod
    def find_leaf(tree, wanted):
        """The number of the leaf that a search for a key ends at."""
        (number,) = struct.unpack_from(">2xI", tree, 14)
        while True:
            node_data = tree[number * NODE:(number + 1) * NODE]
            records = records_of(node_data)
            if struct.unpack_from(">8xb", node_data)[0] == LEAF_NODE or not records:
                return number
            below = [data for at, data in records if order(at) <= order(wanted)] or [records[0][1]]
            (number,) = struct.unpack_from(">I", below[-1])

    def search(self, tree, wanted):
        """The data of the record that a search for a key finds, or None."""
        number = self.find_leaf(tree, wanted)
        for found, data in records_of(tree[number * NODE:(number + 1) * NODE]):
            if order(found) == order(wanted):
                return data
        return None


def records_of(node_data):
    """The keys and data of a node."""
    found = []
    for record in range(struct.unpack_from(">10xH", node_data.ljust(NODE, b"\0"))[0]):
        (at,) = struct.unpack_from(">H", node_data, NODE - 2 * (record + 1))
        end = at + 2 + struct.unpack_from(">H", node_data, at)[0]
        found.append((node_data[at:end], node_data[end:]))
    return found


def leaf_chain(tree):
    """The leaves of a B-tree, each as its number and its keys, and whether the last one is where the
    chain is torn: what follows it is no leaf that leads back to it."""
    found, before, number = [], 0, struct.unpack_from(">I", tree, 14 + 10)[0]
    while number:
        node_data = tree[number * NODE:(number + 1) * NODE]
        following, back, kind = struct.unpack_from(">IIb", node_data.ljust(NODE, b"\0"))
        if (kind, back) != (LEAF_NODE, before):
            return found, True
        found.append((number, [found_key for found_key, _ in records_of(node_data)]))
        before, number = number, following
    return found, False


def hidden(path):
    """
    Records of the catalog that are there and that no search finds, by folder and name. Linux writes
    the way to a leaf later than the leaf (hfs_bmap_alloc() and hfs_btree_inc_height() in fs/hfsplus
    change nodes in memory), and keeps no journal.
    """
    volume = Volume(path)
    tree = volume.content("catalog")
    return [order(one) for number, keys in leaf_chain(tree)[0] for one in keys
            if volume.find_leaf(tree, one) != number]


def lost(path, name):
    """
    Whether a name in the root folder, or the way back to it from the number of its file, by which the
    kernel reads that (hfsplus_find_cat() in fs/hfsplus/catalog.c), is one that is hidden, or would be
    behind a torn place: a leaf was split, and of the two only the one that had all records before is
    on the disk.
    """
    volume = Volume(path)
    tree = volume.content("catalog")
    chain, torn = leaf_chain(tree)
    last = max((order(one) for _, keys in chain for one in keys), default=(0, ""))

    def is_lost(wanted):
        return order(wanted) in hidden(path) or (torn and last < order(wanted))

    data = volume.search(tree, key(ROOT, name))
    if data is None:
        return is_lost(key(ROOT, name))
    back = key(struct.unpack_from(">I", data, 8)[0], "")
    return volume.search(tree, back) is None and is_lost(back)


def faults(path):
    """What is wrong with a volume; an empty list if nothing is."""
    volume, found = Volume(path), []
    bitmap = volume.content("map")
    catalog_file = volume.content("catalog")
    count, names = volume.leaves(catalog_file)
    overflow, pieces = volume.leaves(volume.content("extents"))
    volume.content("attributes")
    kinds = [struct.unpack_from(">h", data)[0] for _, data in names]
    for (_, data), kind in zip(names, kinds):
        if kind == FILE:
            volume.pieces(data[88:])
            volume.pieces(data[168:])
    for _, data in pieces:
        volume.pieces(bytes(16) + data)
    blocks = [block for first, length in volume.used for block in range(first, first + length)]
    marked = {block for block in range(volume.total) if bitmap[block // 8] & 0x80 >> block % 8}
    for wrong, what in (
            (not volume.attributes & UNMOUNTED, "it is marked as mounted"),
            ((count, overflow) != (len(names), len(pieces)), "records are missing"),
            ([key for key, _ in names] != sorted({key for key, _ in names}, key=order),
             "the catalog is not in order"),
            (leaf_chain(catalog_file)[1], "the chain of leaves is torn"),
            (hidden(path), "records are there that a search does not find"),
            (kinds.count(FILE) != volume.files, "the number of files is wrong"),
            (kinds.count(FOLDER) - 1 != volume.folders, "the number of folders is wrong"),
            (len(set(blocks)) != len(blocks), "blocks are used twice"),
            (set(blocks) | {0, volume.total - 1} != marked, "the map differs from what is used"),
            (volume.total - len(marked) != volume.free, "the number of free blocks is wrong")):
        if wrong:
            found.append(what)
    return found


def order(catalog_key):
    """By folder, then by name without regard to case, a zero as if it were the last letter."""
    parent, length = struct.unpack_from(">IH", catalog_key, 2)
    name = catalog_key[8:8 + 2 * length].decode("utf-16-be", "replace")
    return parent, name.lower().replace("\0", "\uffff")
