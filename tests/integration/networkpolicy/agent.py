"""A pod of the packet tests: serves on TCP and UDP, and tries connections when told to, one JSON line each.

Run inside a network namespace. Standard library only.
"""

import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

WAIT_S = 0.3


def serve_tcp(port):
    listener = socket.create_server(("0.0.0.0", port))
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=echo, args=(connection, peer), daemon=True).start()


def echo(connection, peer):
    with connection:
        connection.sendall(peer[0].encode() + b"\n")
        while data := connection.recv(100):
            connection.sendall(data)


def serve_udp(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", port))
    while True:
        _, peer = server.recvfrom(100)
        server.sendto(peer[0].encode(), peer)


def tcp(address, port, source=""):
    try:
        with socket.create_connection((address, port), WAIT_S, source_address=(source, 0) if source else None) as made:
            return made.recv(100).decode().strip()
    except OSError:
        return ""


def udp(address, port, source=""):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(WAIT_S)
        made.bind((source, 0))
        try:
            made.sendto(b"x", (address, port))
            return made.recv(100).decode()
        except OSError:
            return ""


def reach(protocol, tries):
    """Try several (address, port, source) at once; return one answer for each."""
    attempt = {"tcp": tcp, "udp": udp}[protocol]
    with ThreadPoolExecutor(len(tries)) as pool:
        return list(pool.map(lambda one: attempt(*one), tries))


kept = None


def keep(address, port):
    """Open a connection that stays."""
    global kept
    kept = socket.create_connection((address, port), WAIT_S)
    return kept.recv(100).decode().strip()


def talk():
    """Send on the kept connection."""
    try:
        kept.sendall(b"still here")
        return kept.recv(100).decode()
    except OSError:
        return ""


def heard(port):
    """Receive one datagram on a port nobody serves; "" when none comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("0.0.0.0", port))
        made.settimeout(2 * WAIT_S)
        print(json.dumps("listening"), flush=True)
        try:
            return made.recvfrom(100)[1][0]
        except OSError:
            return ""


def send(address, port, source):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((source, 0))
        made.sendto(b"x", (address, port))
    return "sent"


def main():
    for port in json.loads(sys.argv[1]):
        threading.Thread(target=serve_tcp, args=(port,), daemon=True).start()
        threading.Thread(target=serve_udp, args=(port,), daemon=True).start()
    print(json.dumps("ready"), flush=True)
    verbs = {"reach": reach, "keep": keep, "talk": talk, "heard": heard, "send": send}
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(verbs[verb](*arguments)), flush=True)


main()
