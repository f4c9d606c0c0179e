"""A wire tap between gateway and enclave, given to `keyferry up` as the enclave's program.

Usage: tap.py PROGRAM RECORD, with one end of a Unix socket as standard input. It starts `PROGRAM enclave-stand-in` with a
socket of its own, carries every byte both ways, and writes it into RECORD/PID.to and RECORD/PID.from first.
"""

import os
import socket
import subprocess
import sys
import threading

program, record = sys.argv[1:]
gateway = socket.socket(fileno=os.dup(0))
ours, theirs = socket.socketpair()
enclave = subprocess.Popen([program, "enclave-stand-in"], stdin=theirs, env={})
theirs.close()


def carry(source, target, name):
    with open(os.path.join(record, f"{os.getpid()}.{name}"), "wb", buffering=0) as log:
        try:
            while data := source.recv(1 << 16):
                log.write(data)
                target.sendall(data)
        except OSError:
            pass  # One side has died; the other is told by the end of its stream.
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


back = threading.Thread(target=carry, args=(ours, gateway, "from"))
back.start()
carry(gateway, ours, "to")
back.join()
sys.exit(enclave.wait())
