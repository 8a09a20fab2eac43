"""A running virtual machine: the channel to its agent, and its sockets for disks."""

import json
import os
import select
import socket
import subprocess
import time

from .qmp import Qmp

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
PORTS = 15
SLOWER = 6
"""How much longer all takes where the guest's time is not ours."""
READERS = 40
"""Empty slots for cards; a card reader that is pulled takes its slot with it."""


class Machine:
    """
    Starts QEMU without hardware acceleration, which not every machine allows. machine.call(name,
    ...) runs a function of guest/guest.py in the guest and returns what it returned. icount: the
    guest's clocks follow the instructions that it executes, one in 2**icount nanoseconds, and not
    the time that the emulation takes for them.
    """

    def __init__(self, kernel, directory, memory_mib=1536, icount=None):
        self.kernel = kernel
        self.directory = directory
        self.console = os.path.join(directory, "console.log")
        self.rest = b""
        self.usable = True
        self.icount = icount
        self.next_reader = 0
        self.ports = {}
        started = time.monotonic()
        with open(os.path.join(directory, "qemu.log"), "wb") as log:
            self.process = subprocess.Popen(self._command(memory_mib), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        try:
            self.channel = self._connect("agent.sock")
            self.qmp = Qmp(self._connect_path("qmp.sock"))
            self.release = self.call("hello", timeout=240)
        except BaseException:
            self.stop()
            raise
        self.boot_s = time.monotonic() - started

    def _command(self, memory_mib):
        kernel, directory = self.kernel, self.directory
        append = (f"console=ttyS0 quiet loglevel=6 panic=-1 mitigations=off top={TOP} "
                  f"modules={kernel.modules}")
        command = [
            "qemu-system-x86_64", "-machine", "q35,usb=off", *self._processor(), "-cpu", "max",
            "-smp", "1", "-m", str(memory_mib), "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-kernel", kernel.image, "-initrd", kernel.first_root,
            "-append", append, "-serial", f"file:{self.console}",
            "-qmp", f"unix:{directory}/qmp.sock,server=on,wait=off",
            "-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,"
                       "multidevs=remap",
            "-chardev", f"socket,id=agent,path={directory}/agent.sock,server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
            "-device", f"qemu-xhci,id=xhci,p2={PORTS},p3={PORTS}",
            "-device", "sdhci-pci", "-drive", "if=none,id=sd0", "-device", "sd-card,drive=sd0",
        ]
        for number in range(READERS):
            command += ["-drive", f"if=none,id=slot{number}"]
        return command

    def _processor(self):
        if self.icount is None:
            return ["-accel", "tcg,thread=multi"]
        return ["-accel", "tcg,thread=single", "-icount", f"shift={self.icount}"]

    def _connect_path(self, name):
        path = os.path.join(self.directory, name)
        end = time.monotonic() + 30
        while not os.path.exists(path):
            if time.monotonic() > end or self.process.poll() is not None:
                with open(os.path.join(self.directory, "qemu.log"), encoding="utf-8") as log:
                    raise RuntimeError(f"QEMU did not start: {log.read()}")
            time.sleep(0.05)
        return path

    def _connect(self, name):
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(self._connect_path(name))
        return channel

    def _read_line(self, timeout):
        end = time.monotonic() + timeout
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.channel], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no answer within {timeout} s; console:\n{self.last_words()}")
            received = self.channel.recv(1 << 16)
            if not received:
                raise EOFError(f"the guest is gone; console:\n{self.last_words()}")
            self.rest += received
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def call(self, function, *args, timeout=120, **parameters):
        """Fails with AssertionError when the function raises one, or anything else, there."""
        request = {"call": function, "args": args, "parameters": parameters}
        patience = timeout if self.icount is None else timeout * SLOWER
        try:
            self.channel.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._read_line(patience))
        except (TimeoutError, EOFError, OSError):
            self.usable = False
            raise
        if "error" in answer:
            raise AssertionError(f"in the guest ({self.release}): {answer['error']}")
        return answer["value"]

    def last_words(self):
        with open(self.console, encoding="utf-8", errors="replace") as console:
            return console.read()[-3000:]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # Disks.

    def _port(self, name):
        """A port of the controller; QEMU by itself would also take one of a hub."""
        used = set(self.ports.values())
        self.ports[name] = next(number for number in range(1, PORTS + 1) if number not in used)
        return str(self.ports[name])

    def plug(self, name, image, bus="bot", hub=False, serial=None):
        """Plugs a stick; bus: bot (usb-storage) or uas; hub: behind one of its own. Returns at
        once."""
        self.qmp("blockdev-add", node_name=f"{name}-file", driver="file", filename=image)
        self.qmp("blockdev-add", node_name=name, driver="raw", file=f"{name}-file")
        self.attach(name, bus, hub, serial)

    def attach(self, name, bus="bot", hub=False, serial=None):
        """Plugs the stick that has this block node."""
        serial, port = serial or name, self._port(name)
        if hub:
            self.qmp("device_add", driver="usb-hub", id=f"hub-{name}", bus="xhci.0", port=port)
            port += ".1"
        if bus == "bot":
            self.qmp("device_add", driver="usb-storage", id=f"usb-{name}", bus="xhci.0", port=port,
                     drive=name, removable=True, serial=serial)
            return
        self.qmp("device_add", driver="usb-uas", id=f"usb-{name}", bus="xhci.0", port=port,
                 serial=serial)
        self.qmp("device_add", driver="scsi-hd", id=f"lun-{name}", bus=f"usb-{name}.0", drive=name,
                 removable=True)
        self.qmp("qom-set", path=f"/machine/peripheral/usb-{name}", property="attached", value=True)

    def pull(self, name, hub=None):
        """Pulls it, whatever goes on. It is out when this returns. hub: what
        is pulled of the two, "hub" or "stick"; the other one follows."""
        if hub == "hub":
            self.qmp("device_del", id=f"hub-{name}")
        else:
            self.qmp("device_del", id=f"usb-{name}")
        self.qmp.wait_event("DEVICE_DELETED", device=f"usb-{name}")
        if hub == "stick":
            self.qmp("device_del", id=f"hub-{name}")
        if hub:
            self.qmp.wait_event("DEVICE_DELETED", device=f"hub-{name}")
        self.ports.pop(name)
        for node in (name, f"{name}-file"):
            self._release(node)

    def _release(self, node):
        """Removes a block node, once what QEMU still does with it has ended."""
        end = time.monotonic() + 20
        while True:
            try:
                return self.qmp("blockdev-del", node_name=node)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def plug_reader(self):
        """Plugs a card reader with an empty slot; returns the name of the slot."""
        slot = f"slot{self.next_reader}"
        self.next_reader += 1
        self.qmp("device_add", driver="usb-storage", id=f"usb-{slot}", bus="xhci.0", drive=slot,
                 port=self._port(slot), removable=True, serial="READER")
        return slot

    def pull_reader(self, slot):
        self.qmp("device_del", id=f"usb-{slot}")
        self.qmp.wait_event("DEVICE_DELETED", device=f"usb-{slot}")
        self.ports.pop(slot)

    def insert(self, slot, image):
        """Force: a card reader has no lock, as the drive that QEMU makes of it has."""
        self.qmp("blockdev-change-medium", device=slot, filename=image, format="raw", force=True)

    def take_out(self, slot):
        self.qmp("eject", device=slot, force=True)
