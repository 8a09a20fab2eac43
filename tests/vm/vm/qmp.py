"""QEMU's control socket: one JSON object a line, answers and events mixed."""

import json
import socket
import time


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.rest = b""
        self.events = []
        self._next(30)
        self("qmp_capabilities")

    def _next(self, timeout):
        self.socket.settimeout(timeout)
        while b"\n" not in self.rest:
            received = self.socket.recv(1 << 16)
            if not received:
                raise EOFError("the virtual machine has ended")
            self.rest += received
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def __call__(self, command, **arguments):
        """Names of arguments with "_" for "-". Returns the answer, or raises RuntimeError."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            message = self._next(60)
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name, timeout=60, **data):
        """Waits for an event with these data, which may have come before."""
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name and data.items() <= event["data"].items():
                    self.events.remove(event)
                    return
            message = self._next(max(0.01, end - time.monotonic()))
            if "event" in message:
                self.events.append(message)
