"""What the operating system's errors mean for a file of ours, and what to do about each."""

from __future__ import annotations

import errno
import os

_ADVICE = {
    errno.EBUSY: "it is a mount of its own; mount its folder instead",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EIO: "check the disk",
    errno.ELOOP: "a symbolic link is not followed here; name the file itself",
    errno.EMFILE: "raise the limit of this process: ulimit -n",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENFILE: "the whole system has too many open; raise fs.file-max",
    errno.ENOLCK: "its file system has no locks, as NFS may have none; use a local disk",
    errno.ENOSPC: "make room",
    errno.ENOTDIR: "something on the way to it is a file",
    errno.EROFS: "mount it so that it can be written, or choose another place",
    errno.ESTALE: "its server forgot it; mount it again",
}

UNFIT_CONTENT = frozenset({errno.EFBIG, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""The errors that say what lies there is none of our files."""


def reason(error: OSError) -> str:
    """Return what an error means, in the system's words, and what to do in brackets.

    An error that we raised ourselves has words of its own, and keeps them.
    """
    code = error.errno or 0
    words = error.strerror or os.strerror(code)
    advice = _ADVICE.get(code)
    return f"{words} ({advice})" if advice and words == os.strerror(code) else words
