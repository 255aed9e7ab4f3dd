"""Runs one program where it can do no harm: started by `sandbox.py` as a script, imports only the standard library.

`python -I sandboxed.py SETTINGS` with the program on standard input; the settings name the pipe for the
verdict. Three processes: this one waits and writes the identity maps; the first child makes the
namespaces and is their init, so that when it ends everything in them ends; the second runs the program.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
NOBODY = 65534
VERDICT = 3
FOLDER = "/sandbox"
NOT_CONTAINED = 77
"""Exit status where the walls could not be put up: the program was not run."""

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    _call("mount", *words, ctypes.c_ulong(flags), data.encode())


def _bind_read_only(source: str, target: str) -> None:
    """What lies at `source`, below `target`, for reading. Mounts inside it are not carried along."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(source, target, None, MS_BIND)
    # Flags of the mount that a user namespace inherits cannot be dropped, so they are asked for again.
    found = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | 2048)
    locked = {os.ST_NOSUID: 2, os.ST_NODEV: 4, os.ST_NOEXEC: 8, os.ST_NOATIME: 1024, 4096: 1 << 21}
    flags = sum(flag for bit, flag in locked.items() if found & bit)
    _mount("", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | flags)


def _walls(settings: dict) -> None:
    """A root of its own: the interpreter and system libraries to read, one small folder to write."""
    _mount("", "/", None, MS_REC | MS_PRIVATE)
    root = settings["root"]
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in settings["readable"]:
        if os.path.islink(path):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path):
            _bind_read_only(path, root + path)
    for device in ("/dev/null", "/dev/urandom"):
        _bind_device(device, root + device)
    os.makedirs(root + FOLDER, exist_ok=True)
    _mount("tmpfs", root + FOLDER, "tmpfs", MS_NOSUID | MS_NODEV, f"size={settings['folder_bytes']},mode=777")
    os.makedirs(root + "/old", exist_ok=True)
    os.chdir(root)
    _call("pivot_root" if hasattr(_libc, "pivot_root") else "syscall", *_pivot())
    os.chdir("/")
    _call("umount2", b"/old", MNT_DETACH)
    os.rmdir("/old")
    _mount("", "/", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(FOLDER)


def _pivot() -> tuple[object, ...]:
    if hasattr(_libc, "pivot_root"):
        return (b".", b"old")
    return (ctypes.c_long({"x86_64": 155, "aarch64": 41}[os.uname().machine]), b".", b"old")


def _bind_device(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(source, target, None, MS_BIND)


def _give_up_rights(identity: int) -> None:
    """Another user with no capability, no way to gain one, and no one else's process to look into."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
            raise OSError(ctypes.get_errno(), "a capability cannot be dropped")
    if identity:
        os.setgroups([])
        os.setresgid(identity, identity, identity)
        os.setresuid(identity, identity, identity)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _limits(settings: dict) -> None:
    limits = {
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NOFILE: settings["files"],
        resource.RLIMIT_NPROC: settings["processes"],
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    # The soft limit ends the program, the hard one what ignores that.
    seconds = settings["cpu_seconds"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _run(program: str, token: str) -> None:
    """The program as the harness's code_eval runs it: at the top of an empty module, any exception a failure."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    own = os.getpid()
    try:
        exec(compile(program, "<program>", "exec"), {})
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt are failures too
        if os.getpid() != own:
            os._exit(1)  # a process that the program started: the verdict is not its to give
        name = type(error).__name__
        os.write(VERDICT, f"failed: {name}: {str(error)[:200]}".encode("utf-8", "replace"))
        os._exit(1)
    if os.getpid() == own:
        os.write(VERDICT, token.encode())
    os._exit(0)


def _init(settings: dict, program: str, ready: int, go: int) -> None:
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _call(
        "unshare",
        CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS,
    )
    os.write(ready, b".")
    if os.read(go, 1) != b".":
        os._exit(NOT_CONTAINED)
    first = os.fork()  # the first process of the new process namespace
    if first:
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) % 256)
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _walls(settings)
    os.closerange(VERDICT + 1, 4096)
    runner = os.fork()
    if not runner:
        # Limits first: lowering needs no right, and the rights to raise them go with the next line.
        _limits(settings)
        _give_up_rights(settings["identity"])
        _run(program, settings["token"])  # which does not return
    os.close(VERDICT)
    _, status = os.waitpid(runner, 0)
    os._exit(0 if status == 0 else 1)


def _maps(child: int, identity: int) -> None:
    """User and group 0 inside are this process's own; where it is root, `identity` inside is nobody."""
    for kind, own in (("uid", os.getuid()), ("gid", os.getgid())):
        if not identity and kind == "gid":
            with open(f"/proc/{child}/setgroups", "w") as file:
                file.write("deny")
        lines = f"0 {own} 1\n" + (f"{identity} {NOBODY} 1\n" if identity else "")
        with open(f"/proc/{child}/{kind}_map", "w") as file:
            file.write(lines)


def main() -> int:
    """Contains and runs the program; the exit status is NOT_CONTAINED where it cannot be contained."""
    settings = json.loads(sys.argv[1])
    os.umask(0o022)  # the folders of the new root are for another user to read
    os.dup2(settings["verdict"], VERDICT)
    program = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    # RLIMIT_NPROC does not bind root: where it would be root, the program runs as nobody.
    settings["identity"] = 1 if os.getuid() == 0 else 0
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(ready[0])
            os.close(go[1])
            _init(settings, program, ready[1], go[0])
        except (OSError, KeyError, ValueError) as error:
            os.write(VERDICT, f"{settings['token']} not contained: {error}".encode())
        finally:
            os._exit(NOT_CONTAINED)
    os.close(ready[1])
    os.close(go[0])
    if os.read(ready[0], 1) == b".":
        _maps(child, settings["identity"])
        os.write(go[1], b".")
    os.close(go[1])
    os.close(VERDICT)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) % 256


if __name__ == "__main__":
    sys.exit(main())
