"""The interpreter that has imported everything.

Protects the tests that use it: a program finds its open files where they were, and one that was
killed while it started does not take the others with it.
"""

import json
import os
import socket
import subprocess
from pathlib import Path


def test_open_files_keep_their_numbers(warm_python: str) -> None:
    reading, writing = os.pipe()
    high = os.dup2(writing, writing + 20)
    code = f"import os; os.write({high}, b'high'); os.write({writing}, b' low'); print('out')"
    try:
        files = (high, writing)
        done = subprocess.run([warm_python, "-c", code], pass_fds=files, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"")
        assert os.read(reading, 100) == b"high low"
    finally:
        for file in (reading, writing, high):
            os.close(file)


def test_who_ends_while_it_asks_ends_nobody_else(warm_python: str) -> None:
    place = str(Path(warm_python).with_name("socket"))
    job = json.dumps([["-c", "0"], "/", dict(os.environ), [0, 1, 2]]).encode()
    for is_sent in (False, True):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.connect(place)
            if is_sent:
                socket.send_fds(line, [job], [0, 1, 2])
    code = "import sys; sys.exit(7)"
    assert subprocess.run([warm_python, "-c", code], check=False).returncode == 7
