"""The lock between processes: one holder, and removal while others wait."""

import threading

from loft.embedded.lock import locked


def test_one_at_a_time_even_when_the_holder_removes_the_file(tmp_path):
    path = tmp_path / "folder" / "lock"
    inside, most, rounds = 0, 0, []
    guard = threading.Lock()

    def work(removes):
        nonlocal inside, most
        for _ in range(30):
            with locked(path):
                with guard:
                    inside += 1
                    most = max(most, inside)
                rounds.append(1)
                with guard:
                    inside -= 1
                if removes:
                    path.unlink()

    threads = [threading.Thread(target=work, args=(index % 2 == 0,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(rounds) == 120
