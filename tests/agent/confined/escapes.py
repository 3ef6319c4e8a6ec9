"""Ways out of a sandbox: what a command tries, and what it must say when it did not come through.

In a command, ``@name@`` stands for what lies outside: see ``World`` in ``player``. Python goes by ``attempt``, which
stands in the folder as a module.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

ATTEMPT = """
import ctypes, errno, os, signal, socket, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *words):
    sent = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    done = libc.syscall(ctypes.c_long(NUMBERS[name]), *sent)
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return done

def held(attempt):
    try:
        got = attempt()
    except OSError as error:
        print("held:", errno.errorcode.get(error.errno, error))
    else:
        print("ESCAPED", got)
"""

Control = Literal["anybody", "root", "nobody"]


@dataclass(frozen=True)
class Escape:
    """One way out. ``says`` is a pattern of what stands in the output when it failed."""

    name: str
    command: str
    says: str = "held"
    outside: Control = "anybody"
    """Who comes through without a sandbox, which shows that the attempt is a real one."""
    seconds: float = 20


def shell(name: str, command: str, *, says: str = "held", outside: Control = "anybody") -> Escape:
    return Escape(name, f"{{ {command}; }} 2>&1 && echo ESCAPED || echo held", says, outside)


def python(name: str, program: str, *, says: str = "held", outside: Control = "anybody") -> Escape:
    return Escape(name, f"python3 -c {shlex.quote('from attempt import *' + chr(10) + program)} 2>&1", says, outside)


def call(name: str, words: str = "0, 0, 0, 0, 0", *, says: str = "held: EPERM", outside: Control = "root") -> Escape:
    return python(f"system call {name}", f'held(lambda: call("{name}", {words}))', says=says, outside=outside)


READING = [
    shell("a key in the caller's home", "cat @home@/.ssh/id_ed25519"),
    shell("the caller's home by its variable", 'cat "$SECRET_HOME"/.ssh/id_ed25519'),
    shell("the home of root", "ls /root/", outside="root"),
    shell("the homes", "ls /home/"),
    shell("the shadow", "cat /etc/shadow", outside="root"),
    shell("the groups' shadow", "head -c 1 /etc/gshadow", outside="root"),
    shell("another folder of /tmp", "cat @other@/secret"),
    shell("the folder above", "cat ../other/secret"),
    shell("what lies beside the folder", "ls @other@"),
    shell("a link to a file outside", "cat link"),
    shell("a link to a folder outside", "cat linked/secret"),
    shell("a link made by the command", "ln -s @other@ own && cat own/secret"),
    shell("a hard link to a file outside", "ln @other@/secret hard && cat hard"),
    shell("a hard link to a program of root", "ln /usr/bin/passwd hard", outside="nobody"),
    shell("shared memory", "cat /dev/shm/@shm@"),
    shell("the system's sockets and locks", "ls /run/lock"),
    shell("logs and mail", "ls /var/log"),
    shell("the kernel's settings", "ls /sys/kernel"),
    shell("all of the machine, by name", "find / -xdev -maxdepth 5 -name '@name@' 2>/dev/null | grep ."),
    shell("the machine's memory by /proc", "head -c 1 /proc/kcore", outside="nobody"),
    shell("keys of the kernel", "cat /proc/keys"),
    shell("the environment", "env | grep @secret@"),
]

OTHER_PROCESSES = [
    shell("the caller's environment", "grep -a @secret@ /proc/@pid@/environ"),
    shell("the environment of the first process", "grep -a SECRET_WORD /proc/1/environ /proc/*/environ"),
    shell("the root by /proc/self", "cat /proc/self/root@other@/secret"),
    shell("the root of the first process", "cat /proc/1/root@other@/secret", outside="nobody"),
    shell("the caller's root", "cat /proc/@pid@/root@other@/secret"),
    shell("the caller's working folder", "ls -d /proc/@pid@/cwd/"),
    shell("the caller's open files", "cat /proc/@pid@/fd/@fd@"),
    shell("the caller's arguments", "grep -a . /proc/@pid@/cmdline"),
    python("the caller's memory", 'held(lambda: open("/proc/@pid@/mem", "rb").fileno())'),
    shell("a process without the filter", "grep 'Seccomp:.*[01]' /proc/[0-9]*/status"),
    python("the memory of the first process, by call",
           'held(lambda: call("process_vm_readv", 1, 0, 0, 0, 0, 0))', says="held: EPERM", outside="nobody"),
    python("tracing the first process", 'held(lambda: call("ptrace", 0x4206, 1, 0, 0))', says="held: EPERM",
           outside="nobody"),
    python("being traced", 'held(lambda: call("ptrace", 0, 0, 0, 0))', says="held: EPERM"),
    python("a handle out of another process",
           'own = os.pidfd_open(os.getpid()); held(lambda: call("pidfd_getfd", own, 0, 0))', says="held: EPERM"),
    shell("a signal to the caller", "kill -0 @pid@"),
    Escape("a signal to everybody", "trap '' TERM; kill -TERM -1; echo held", outside="nobody"),
    Escape("the end of the first process", "kill -9 1; sleep 0.1; echo held", outside="nobody"),
    python("inherited handles", """
for handle in range(3, 256):
    try:
        print("ESCAPED", os.pread(handle, 100, 0))
    except OSError:
        pass
print("held")"""),
    Escape("standard input", "cat && echo held", outside="nobody"),
    python("typing into the terminal", """
for handle in (0, 1, 2):
    held(lambda: __import__("fcntl").ioctl(handle, 0x5412, b"x"))
held(lambda: os.open("/dev/tty", os.O_RDWR))""", says="held: EPERM", outside="nobody"),
    python("a terminal pasted into", 'held(lambda: __import__("fcntl").ioctl(1, 0x541C, b"x"))', says="held: EPERM"),
]  # fmt: skip

NETWORK = [
    python("TCP to this machine", """
held(lambda: socket.create_connection(("127.0.0.1", @tcp@), 5).recv(100))"""),
    python("TCP to another machine", """
held(lambda: socket.create_connection(("192.0.2.1", 9), 1))""", says="held: ENETUNREACH", outside="nobody"),
    python("UDP to this machine", """
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(1)
asked.connect(("127.0.0.1", @udp@))
def ask():
    asked.send(b"x")
    return asked.recv(100)
held(ask)"""),
    python("UDP to another machine", """
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held(lambda: asked.sendto(b"x", ("192.0.2.1", 9)))""", says="held: ENETUNREACH", outside="nobody"),
    shell("a name", "getent hosts example.com", outside="nobody"),
    python("a socket in a folder", """
near = socket.socket(socket.AF_UNIX)
def ask():
    near.connect("@other@/socket")
    return near.recv(100)
held(ask)"""),
    python("a socket without a folder", """
near = socket.socket(socket.AF_UNIX)
def ask():
    near.connect("\\0@abstract@")
    return near.recv(100)
held(ask)"""),
    shell("Docker's socket", "ls /var/run/docker.sock /run/docker.sock", outside="nobody"),
    python("a raw socket", "held(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))", outside="root"),
    python("a packet socket", "held(lambda: socket.socket(17, socket.SOCK_RAW, 0x0300))", says="EAFNOSUPPORT",
           outside="root"),
    python("a netlink socket", "held(lambda: socket.socket(16, socket.SOCK_RAW, 0))", says="EAFNOSUPPORT"),
    python("a socket to the hypervisor", "held(lambda: socket.socket(40, socket.SOCK_STREAM, 0))",
           says="EAFNOSUPPORT", outside="nobody"),
    python("a socket into the kernel's cryptography", "held(lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0))",
           says="EAFNOSUPPORT", outside="nobody"),
    shell("the machine's network by /proc", "grep -v -e lo: -e '|' /proc/net/dev"),
]  # fmt: skip

VIEWS = [
    python("a mount", 'held(lambda: call("mount", b"x", b"/tmp", b"tmpfs", 0, 0))', says="held: EPERM",
           outside="nobody"),
    python("what hides taken away", """
for path in (b"/etc/shadow", b"/proc", b"/dev/shm", b"/"):
    held(lambda: call("umount2", path, 2))""", says="held: EPERM", outside="nobody"),
    python("a root that is writable again", 'held(lambda: call("mount", 0, b"/", 0, 32 | 4096, 0))',
           says="held: EPERM", outside="nobody"),
    python("another root", 'held(lambda: call("chroot", b"."))', says="held: EPERM", outside="root"),
    shell("a nested user namespace", "unshare -Ur true"),
    shell("a nested view", "unshare -m true", outside="root"),
    python("a nested user namespace by clone", f"""
def nested():
    child = libc.syscall(NUMBERS["clone"], {0x10000000 | 17}, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone")
    return child
held(nested)""", says="held: EPERM"),
    python("a namespace of another", """
held(lambda: call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))""", outside="nobody"),
    call("clone3", says="held: ENOSYS"),
    call("openat2", says="held: ENOSYS"),
    call("pivot_root", 'b".", b"."'),
    call("open_tree", '-100, b".", 1'),
    call("move_mount"),
    call("fsopen", 'b"tmpfs", 0', outside="root"),
    call("mount_setattr"),
    shell("a device of blocks", "mknod disk b 8 0", outside="root"),
    shell("a device of the memory", "mknod memory c 1 1", outside="root"),
    shell("the kernel's log by /dev", "dd if=/dev/kmsg bs=8192 count=1", outside="root"),
    shell("disks and memory", "ls /dev/mem /dev/sda /dev/vda /dev/port /dev/kvm 2>/dev/null | grep ."),
]  # fmt: skip

KERNEL = [
    call("add_key", 'b"user", b"x", b"x", 1, -3', outside="anybody"),
    call("keyctl", "0, -3, 1", outside="anybody"),
    call("request_key", 'b"user", b"x", 0, -3', outside="anybody"),
    call("bpf"),
    call("perf_event_open"),
    call("io_uring_setup", "1, 0", outside="anybody"),
    call("userfaultfd", "1", outside="anybody"),
    call("fanotify_init"),
    call("memfd_create", 'b"x", 0', says="held: ENOSYS", outside="anybody"),
    call("shmget", "0, 4096, 0o1600", says="held: ENOSYS", outside="anybody"),
    call("open_by_handle_at"),
    call("name_to_handle_at"),
    call("init_module", outside="nobody"),
    call("kexec_load", outside="nobody"),
    call("reboot", outside="nobody"),
    call("settimeofday", outside="nobody"),
    call("sethostname", 'b"x", 1', outside="nobody"),
    call("swapon", outside="nobody"),
    call("syslog", "10, 0, 0"),
    call("kcmp", "1, 1, 0, 0, 0", outside="nobody"),
    python("a call that nobody has looked at",
           'NUMBERS["new"] = 467; held(lambda: call("new", -100, b".", 1))', says="held: ENOSYS", outside="nobody"),
    python("a call of the other table", 'NUMBERS["x32"] = 0x40000000 + 39; held(lambda: call("x32"))',
           says="held: ENOSYS", outside="nobody"),
    shell("a setting of the kernel", "cp /proc/sys/kernel/core_pattern v && cat v > /proc/sys/kernel/core_pattern",
          outside="root"),
    python("the emergency keys", 'held(lambda: os.open("/proc/sysrq-trigger", os.O_WRONLY))', outside="nobody"),
    shell("a control group", "find /sys/fs/cgroup -name cgroup.procs | grep ."),
    shell("capabilities", "grep Cap /proc/self/status | grep -v 0000000000000000", outside="root"),
    shell("privileges of programs of root", "grep 'NoNewPrivs:.*0' /proc/self/status"),
    shell("no filter", "grep 'Seccomp:.*0' /proc/self/status"),
    python("a call of the old architecture", """
import mmap
if os.uname().machine != "x86_64":
    sys.exit("held")
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))
entry = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
if os.fork() == 0:
    os._exit(0 if entry() > 0 else 1)
print("ESCAPED" if os.wait()[1] == 0 else "held")""", outside="nobody"),
]  # fmt: skip

WRITING = [
    shell("a file beside the folder", "echo x > @other@/made"),
    shell("a file beside the folder by a link", "echo x > linked/made"),
    shell("a file in the home", "echo x > @home@/made"),
    shell("a program", "echo x > /usr/bin/made", outside="nobody"),
    shell("a setting", "echo x > /etc/made", outside="nobody"),
    shell("a name in the root", "mkdir /made", outside="nobody"),
    shell("a user", "echo x >> /etc/passwd", outside="nobody"),
    shell("the removal of a program", "rm -f /usr/bin/env", outside="nobody"),
    shell("another name for the folder", "mv @folder@ @folder@-2", outside="nobody"),
    shell("no folder", "rmdir @folder@", outside="nobody"),
    shell("a program that runs as its owner", "touch x && chmod u+s x"),
    shell("a program that runs as its group", "touch x && chmod g+s x"),
    shell("the same, installed", "install -m 4755 /bin/true y"),
    python("the same, made so", """
held(lambda: os.open("z", os.O_CREAT | os.O_WRONLY, 0o4755))"""),
    python("the same, by an open file", 'held(lambda: os.fchmod(os.open("z2", os.O_CREAT), 0o4755))'),
    python("the same, as a node", 'held(lambda: os.mknod("z3", 0o104755))'),
    python("the same, by the newest call", """
open("z4", "w").close()
held(lambda: call("fchmodat2", -100, b"z4", 0o4755, 0))"""),
    shell("a capability on a file", "cp /bin/true c && setcap cap_net_raw+ep c", outside="nobody"),
    shell("the clock", "date -s '2030-01-01'", outside="nobody"),
]  # fmt: skip

_FILL = "for i in $(seq 300); do head -c 4000000 /dev/zero > @place@/$i || exit 1; done"

TAKING = [
    python("a fork bomb", """
made = 0
def bomb():
    global made
    while made < 500:
        if os.fork() == 0:
            signal.pause()
        made += 1
held(bomb)""", says="held: EAGAIN|Killed: more than", outside="nobody"),
    Escape("the shell's fork bomb", "bomb() { bomb | bomb & }; bomb; sleep 1; echo over",
           says="over|Killed: more than|unavailable", outside="nobody", seconds=8),
    python("too many threads", """
import threading
made = 0
try:
    while made < 500:
        threading.Thread(target=signal.pause, daemon=True).start()
        made += 1
except RuntimeError:
    print("held", flush=True)
os._exit(0)""", says="held|Killed: more than", outside="nobody"),
    python("the memory of one process", """
try:
    print("ESCAPED", len(bytearray(1 << 30)))
except MemoryError:
    print("held")""", outside="nobody"),
    python("the memory of many processes", """
for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(os.urandom(1)) * (200 << 20)
        signal.pause()
signal.sigtimedwait([], 5)
print("ESCAPED")""", says="Killed: more than 536870912 bytes of memory", outside="nobody"),
    python("memory that processes share", """
import mmap
shared = mmap.mmap(-1, 2 << 30)
for at in range(0, 2 << 30, 1 << 20):
    shared[at:at + (1 << 20)] = bytes([1]) * (1 << 20)
print("ESCAPED")""", says="Killed: more than 536870912 bytes of memory|MemoryError", outside="nobody"),
    Escape("memory as files of /tmp", f"({_FILL.replace('@place@', '/tmp')}) 2>&1 && echo ESCAPED", says="No space",
           outside="nobody"),
    Escape("memory as shared files", f"({_FILL.replace('@place@', '/dev/shm')}) 2>&1 && echo ESCAPED", says="No space",
           outside="nobody"),
    shell("a huge file", "head -c 10000000 /dev/zero > big"),
    shell("a huge file with nothing in it", "truncate -s 1G big"),
    python("limits raised again", """
import resource
for bound in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
    try:
        resource.setrlimit(bound, (-1, -1))
        print("ESCAPED", bound)
    except (ValueError, PermissionError):
        print("held")""", outside="nobody"),
    python("handles without end", "held(lambda: [os.open('.', os.O_RDONLY) for _ in range(5000)])",
           says="held: EMFILE", outside="nobody"),
    python("more than its share of the processor", "held(lambda: os.setpriority(0, 0, -5))", outside="root"),
]  # fmt: skip

ESCAPES = [*READING, *OTHER_PROCESSES, *NETWORK, *VIEWS, *KERNEL, *WRITING, *TAKING]
