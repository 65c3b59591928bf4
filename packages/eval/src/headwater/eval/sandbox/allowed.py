"""The system call filter of the sandbox without namespaces: what a Python program needs, and nothing else.

Landlock says which files may be opened. It has no say in what else a process can do to the machine, so this filter is
a list of what is allowed. No call makes a process, a socket that leads elsewhere, or another user; none reaches another
process; and none changes a file by its path without Landlock being asked (chmod, chown, utime, setxattr, truncate).
"""

from headwater.eval.sandbox import seccomp
from headwater.eval.sandbox.seccomp import ENOTTY, THREADS_ONLY, Only

_FREE = (
    # Descriptors: reading, writing, waiting.
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek",
    "close", "close_range", "dup", "dup2", "dup3", "pipe", "pipe2", "flock", "ftruncate", "fsync", "fdatasync",
    "sendfile", "copy_file_range", "fadvise64", "select", "pselect6", "poll", "ppoll", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2",
    # Files: Landlock decides about those that open or change something; the others tell names and sizes.
    "open", "openat", "creat", "stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "getdents", "getdents64", "statfs", "fstatfs", "getcwd", "chdir", "fchdir", "mkdir",
    "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "umask",
    # Memory and threads.
    "munmap", "mremap", "mprotect", "madvise", "brk", "msync", "membarrier", "futex", "set_robust_list", "rseq",
    "set_tid_address", "sched_yield", "sched_get_priority_max", "sched_get_priority_min", "exit", "exit_group", "wait4",
    "waitid",
    # The process itself.
    "gettid", "getpid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
    "getgroups", "capget", "uname", "sysinfo", "getrusage", "times", "getrlimit", "setrlimit", "getcpu", "getrandom",
    # Time and signals.
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "alarm", "setitimer",
    "getitimer", "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "pause", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
    "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "signalfd4", "restart_syscall",
    # A pair of connected sockets, which asyncio wakes itself with.
    "recvfrom", "shutdown", "getsockopt", "getsockname", "getpeername",
)  # fmt: skip

_CLONE_ELSEWHERE = 0x7E02A000  # CLONE_NEW*, CLONE_PARENT and CLONE_PTRACE of linux/sched.h
_AF_UNIX, _SOCK_STREAM, _TYPE = 1, 1, 0xF
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_OFD_*, F_DUPFD_CLOEXEC, F_GETPIPE_SZ.
# Not F_SETOWN and F_SETSIG, which send signals to any process of the user.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS
_PRCTL = (2, 3, 15, 16, 23, 39)
# MAP_PRIVATE, MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS. Not a shared mapping of a file: nothing counts
# what is written there when the file system is in memory.
_MMAP, _MAP_TYPE_OR_ANONYMOUS = (0x02, 0x22, 0x21), 0x2F
_FIRST_UNKNOWN = 424  # the numbers that all machines have in common begin here, with Linux 5.1


def program(machine: str, process: int) -> bytes:
    """The filter for a machine and a process, as an array of `struct sock_filter`.

    Args:
        machine: "x86_64" or "aarch64".
        process: Id of the process that it is for: the only one that may get a signal or a limit.
    """
    itself = Only(0, (process,))
    code = seccomp.opening(machine)
    for call in _FREE:
        code += seccomp.answer(machine, call, seccomp.ALLOW)
    for call, conditions in {
        "clone": [THREADS_ONLY, Only(0, (0,), _CLONE_ELSEWHERE)],
        "kill": [itself],
        "tgkill": [itself],
        "prlimit64": [Only(0, (0, process))],
        "sched_getaffinity": [Only(0, (0, process))],
        "fcntl": [Only(1, _FCNTL)],
        "prctl": [Only(0, _PRCTL)],
        "mmap": [Only(3, _MMAP, _MAP_TYPE_OR_ANONYMOUS)],
        # A datagram socket of a pair could still be made to send to an address.
        "socketpair": [Only(0, (_AF_UNIX,)), Only(1, (_SOCK_STREAM,), _TYPE)],
        "sendto": [Only(4, (0,)), Only(4, (0,), high=True)],
    }.items():
        code += seccomp.check(machine, call, conditions)
    code += seccomp.check(machine, "ioctl", [Only(1, _IOCTL)], seccomp.error(ENOTTY))
    return b"".join([*code, *seccomp.closing(_FIRST_UNKNOWN)])
