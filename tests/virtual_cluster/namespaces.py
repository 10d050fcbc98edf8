"""Linux's namespaces and mounts, which Python's library has from 3.12 on, or not at all."""

import ctypes
import os
import pathlib
import signal

MOUNT, UTS, IPC, USER, PID, NET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
BIND, MOVE, RECURSIVE, PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000  # flags of mount
SIGNAL_AT_PARENTS_DEATH = 1  # of prctl

LIBC = ctypes.CDLL(None, use_errno=True)


class CannotRun(Exception):
    """What this machine lacks, or forbids, in words."""


def check(result, doing):
    if result != 0:
        raise CannotRun(f"{doing} failed ({os.strerror(ctypes.get_errno())})")


def mount(source, target, kind=None, flags=0):
    texts = [text and str(text).encode() for text in (source, target, kind)]
    check(LIBC.mount(*texts, ctypes.c_ulong(flags), None), f"mounting {target}")


def unshare(kinds):
    """New namespaces of these kinds for this process; one of PIDs for its next child."""
    check(LIBC.unshare(kinds), "making namespaces, as root or in a user namespace,")


def unshare_pids():
    """Who may not becomes root of a user namespace first."""
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(PID) == 0:
        return
    unshare(USER | PID)
    for file, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        pathlib.Path("/proc/self", file).write_text(line, encoding="ascii")


def enter(process):
    """The namespaces of another process, without those of PIDs and users; in the same folder as before."""
    folder = os.getcwd()
    for kind in ("net", "uts", "ipc", "mnt"):
        namespace = os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        check(LIBC.setns(namespace, 0), f"entering {kind} of process {process}")
    os.chdir(folder)


def die_with_parent():
    """And, as process 1 of a namespace, take all others along."""
    LIBC.prctl(SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
