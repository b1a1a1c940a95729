#!/usr/bin/env python3
"""A back end for `logux-sync serve --backend`, in Python without any package.

It lets everyone in whose token is the name of the user backwards, and keeps a number for each
user, which the user alone may add to and see. `examples/backend/test` tries it.

    # in the first terminal
    export LOGUX_SYNC_BACKEND_SECRET=$(openssl rand -hex 16)
    python3 examples/backend/server.py 3000 &
    cargo run --release -- serve --backend http://127.0.0.1:3000/ --store numbers.db

    # in the second and in the third
    LOGUX_SYNC_TOKEN=treb cargo run --release -- follow --user bert --channel numbers/bert --since start
    LOGUX_SYNC_TOKEN=treb cargo run --release -- add --user bert '{"type":"numbers/add","by":3}'
"""
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

SECRET = os.environ["LOGUX_SYNC_BACKEND_SECRET"]

numbers = {}
# The ids of the events that are counted. In a database, one transaction writes both: an event may
# be sent again after a crash.
counted = set()
lock = Lock()


def of_client(command):
    """Who may connect."""
    user = command["userId"]
    # A node without a user has none: its name is not to be taken for one.
    is_right = user and command["token"] == user[::-1]
    yield {"answer": "authenticated" if is_right else "denied", "authId": command["authId"]}


def of_event(action, id, user):
    """What becomes of an event."""
    if action["type"] == "logux/subscribe":
        if action["channel"] != f"numbers/{user}":
            yield {"answer": "forbidden", "id": id}
            return
        yield {"answer": "approved", "id": id}
        state = {"type": "numbers/state", "number": numbers.get(user, 0)}
        yield {"answer": "action", "id": id, "action": state}
        yield {"answer": "processed", "id": id}
    elif action["type"] == "numbers/add" and isinstance(action.get("by"), int):
        yield {"answer": "resend", "id": id, "channels": [f"numbers/{user}"]}
        yield {"answer": "approved", "id": id}
        with lock:
            if id not in counted:
                counted.add(id)
                numbers[user] = numbers.get(user, 0) + action["by"]
        yield {"answer": "processed", "id": id}
    else:
        yield {"answer": "unknownAction", "id": id}


class BackEnd(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not hmac.compare_digest(request["secret"], SECRET):
            self.send_error(403)
            return
        answers = []
        for command in request["commands"]:
            if command["command"] == "auth":
                answers += of_client(command)
            else:
                id = command["meta"]["id"]
                user = id.split(" ")[1].split(":")[0]
                answers += of_event(command["action"], id, user)
        body = json.dumps(answers).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), BackEnd)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
