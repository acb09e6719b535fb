"""Code for processes that fork: run something in a child, and wait for what it returned."""

from __future__ import annotations

IN_CHILD = """
import os, traceback

def in_child(work):
    # Run it in a forked child, and return a function that waits for what it returned.
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, repr(work()).encode())
        except BaseException as error:
            traceback.print_exc()  # or else nobody sees why a parent waits in vain
            os.write(writing, repr(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(0)
    os.close(writing)

    def outcome():
        with open(reading, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return eval(said)

    return outcome


"""
