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


def test_who_must_wait_is_told_once(tmp_path):
    path, said, entered = tmp_path / "lock", [], threading.Event()

    def second():
        with locked(path, lambda: said.append("waiting")):
            entered.set()

    with locked(path, lambda: said.append("nobody is there")):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(5)
    assert entered.is_set()
    assert said == ["waiting"]
