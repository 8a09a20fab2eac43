"""Media in every state that one can be in while the daemon's program is replaced."""

import os

from .wait import until


class EveryState:
    """
    One that is idle, one that is used, one with the same label, one that is ejected; and one that
    is pulled and one that is plugged while nobody looks. Made with the fixture `loopdev`.
    """

    def __init__(self, loopdev):
        self.disks = {label: loopdev(label=label)
                      for label in ["IDLE", "USED", "EJECTED", "PULLED", "NEW"]}
        self.twin = loopdev(label="USED")
        self.names = set()
        self.before = {}
        for label in ["IDLE", "USED", "EJECTED", "PULLED"]:
            self.disks[label].plug()

    def all(self):
        return [*self.disks.values(), self.twin]

    def enter(self, view):
        view.wait_for("IDLE", "USED", "EJECTED", "PULLED")
        self.twin.plug()
        until("the twin has a name of its own", lambda: len(view.names()) == 5)
        self.names = view.names() - {"EJECTED"}
        for label in ["USED", "EJECTED", "PULLED"]:
            os.listdir(view.path(label))
        view.eject("EJECTED")
        view.wait_for(*self.names)
        self.before = {medium["name"]: medium for medium in view.list()}

    def check(self, view):
        """What can be told of each is what it was, and none has appeared again."""
        states = {medium["label"]: medium["state"] for medium in view.list("--all")}
        assert states["IDLE"] == "idle" and states["EJECTED"] == "ejected"
        after = {medium["name"]: medium for medium in view.list()}
        assert set(after) == self.names
        for name in self.names:
            for what in ["uuid", "device", "driver", "size_bytes", "read_only", "passthrough"]:
                assert after[name][what] == self.before[name][what], (name, what)
        assert view.log().count('"IDLE" appeared') == 1

    def change(self):
        self.disks["PULLED"].pull()
        self.disks["NEW"].plug()

    def wait_changed(self, view):
        view.wait_for(*self.names - {"PULLED"}, "NEW")

    def check_ejected(self, view):
        """It comes back when it is plugged again, and not before."""
        self.wait_changed(view)
        self.disks["EJECTED"].unplug().plug()
        view.wait_for(*self.names - {"PULLED"}, "NEW", "EJECTED")
