"""Numbers of Linux system calls on x86_64 and aarch64 (asm/unistd_64.h and asm-generic/unistd.h of Linux).

Only the calls that a filter names are here. A test compares them with the kernel's headers where those are installed.
"""

NUMBERS: dict[str, tuple[int, int | None]] = {
    "add_key": (248, 217), "bpf": (321, 280), "brk": (12, 214), "capget": (125, 90), "chdir": (80, 49),
    "chroot": (161, 51), "clock_getres": (229, 114), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115),
    "clone": (56, 220), "clone3": (435, 435), "close": (3, 57), "close_range": (436, 436),
    "copy_file_range": (326, 285), "dup": (32, 23), "dup3": (292, 24), "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "eventfd2": (290, 19),
    "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48), "faccessat2": (439, 439),
    "fadvise64": (221, 223), "fchdir": (81, 50), "fcntl": (72, 25), "fdatasync": (75, 83), "finit_module": (313, 273),
    "flock": (73, 32), "fsopen": (430, 430), "fstat": (5, 80), "fstatfs": (138, 44), "fsync": (74, 82),
    "ftruncate": (77, 46), "futex": (202, 98), "getcpu": (309, 168), "getcwd": (79, 17), "getdents64": (217, 61),
    "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176), "getgroups": (115, 158),
    "getitimer": (36, 102), "getpeername": (52, 205), "getpid": (39, 172), "getppid": (110, 173),
    "getrandom": (318, 278), "getresgid": (120, 150), "getresuid": (118, 148), "getrlimit": (97, 163),
    "getrusage": (98, 165), "getsockname": (51, 204), "getsockopt": (55, 209), "gettid": (186, 178),
    "gettimeofday": (96, 169), "getuid": (102, 174), "init_module": (175, 105), "io_uring_setup": (425, 425),
    "ioctl": (16, 29), "kexec_load": (246, 104), "keyctl": (250, 219), "kill": (62, 129), "linkat": (265, 37),
    "lseek": (8, 62), "madvise": (28, 233), "membarrier": (324, 283), "memfd_create": (319, 279),
    "mkdirat": (258, 34), "mmap": (9, 222), "mount": (165, 40), "move_mount": (429, 429), "mprotect": (10, 226),
    "mq_open": (240, 180), "mremap": (25, 216), "msgget": (68, 186), "msync": (26, 227), "munmap": (11, 215),
    "nanosleep": (35, 101), "newfstatat": (262, 79), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "openat": (257, 56), "perf_event_open": (298, 241), "personality": (135, 92), "pidfd_open": (434, 434),
    "pipe2": (293, 59), "pivot_root": (155, 41), "ppoll": (271, 73), "prctl": (157, 167), "pread64": (17, 67),
    "preadv": (295, 69), "preadv2": (327, 286), "prlimit64": (302, 261), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pselect6": (270, 72), "ptrace": (101, 117), "pwrite64": (18, 68),
    "pwritev": (296, 70), "pwritev2": (328, 287), "read": (0, 63), "readlinkat": (267, 78), "readv": (19, 65),
    "recvfrom": (45, 207), "renameat": (264, 38), "renameat2": (316, 276), "request_key": (249, 218),
    "restart_syscall": (219, 128), "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigpending": (127, 136),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137), "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126),
    "sched_getaffinity": (204, 123), "sched_yield": (24, 124), "semget": (64, 190), "sendfile": (40, 71),
    "sendto": (44, 206), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "setitimer": (38, 103),
    "setns": (308, 268), "setrlimit": (160, 164), "shmget": (29, 194), "shutdown": (48, 210),
    "sigaltstack": (131, 132), "signalfd4": (289, 74), "socket": (41, 198), "socketpair": (53, 199),
    "statfs": (137, 43), "statx": (332, 291), "symlinkat": (266, 36), "sysinfo": (99, 179), "tgkill": (234, 131),
    "timer_create": (222, 107), "timer_delete": (226, 111), "timer_getoverrun": (225, 109),
    "timer_gettime": (224, 108), "timer_settime": (223, 110), "timerfd_create": (283, 85),
    "timerfd_gettime": (287, 87), "timerfd_settime": (286, 86), "times": (100, 153), "umask": (95, 166),
    "umount2": (166, 39), "uname": (63, 160), "unlinkat": (263, 35), "unshare": (272, 97), "userfaultfd": (323, 282),
    "wait4": (61, 260), "waitid": (247, 95), "write": (1, 64), "writev": (20, 66), "access": (21, None),
    "alarm": (37, None), "creat": (85, None), "dup2": (33, None), "epoll_create": (213, None),
    "epoll_wait": (232, None), "eventfd": (284, None), "fork": (57, None), "getdents": (78, None),
    "getpgrp": (111, None), "link": (86, None), "lstat": (6, None), "mkdir": (83, None), "open": (2, None),
    "pause": (34, None), "pipe": (22, None), "poll": (7, None), "readlink": (89, None), "rename": (82, None),
    "rmdir": (84, None), "select": (23, None), "stat": (4, None), "symlink": (88, None), "time": (201, None),
    "unlink": (87, None), "vfork": (58, None),
}  # fmt: skip
"""Name → number on x86_64, number on aarch64. aarch64 never had the oldest calls, such as open and fork."""

_COLUMN = {"x86_64": 0, "aarch64": 1}


def number(machine: str, name: str) -> int | None:
    """The number of a call, or None when the machine has no such call."""
    return NUMBERS[name][_COLUMN[machine]]
