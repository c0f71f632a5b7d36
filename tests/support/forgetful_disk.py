"""A file system in memory that forgets, when power fails, whatever was not synced.

Mounted through FUSE by `ForgetfulDisk`, in a process of its own (``python forgetful_disk.py
MOUNTPOINT SOCKET``). It keeps an image of what is on disk at each *sync point*: each fsync or
fdatasync of a file or folder. `ForgetfulDisk.cut` puts such an image in place of what is there.

What survives beside what was synced is told by the mode:

* ``strict``: nothing. A file holds the data of its last fsync, and a name is there only if its
  folder was synced since it came: all that POSIX promises.
* ``journal``: every name, as a journal keeps them, but data only if they were synced. Files that
  were not are empty: git's best-known damage on real disks.
* ``torn``: as ``journal``, and half of what was written last.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

MODES = ("strict", "journal", "torn")
_MOUNT_PATIENCE_S = 30


class ForgetfulDisk:
    """The file system from the side of a test: mounted within the ``with`` block."""

    def __init__(self, mountpoint, address):
        self.folder = Path(mountpoint)
        self._address = str(address)
        self._process = None

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(self.folder), self._address]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + _MOUNT_PATIENCE_S
        while not os.path.ismount(self.folder):
            if self._process.poll() is not None:
                raise OSError(f"the disk could not be mounted: {self._process.stderr.read()}")
            if time.monotonic() > deadline:
                self._process.kill()
                raise OSError("the disk could not be mounted in time")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
        self._process.kill()
        self._process.communicate()

    def settle(self):
        """Count everything that is there as synced, and forget the sync points."""
        self._ask("settle")

    def sync_points(self):
        """Return what was synced at each sync point since `settle`; the first is the start."""
        return self._ask("points").split("\t")

    def keep(self):
        """Keep the images made so far for `cut`, and make no more."""
        self._ask("keep")

    def mark(self, what):
        """Make one more sync point here, although nothing is synced."""
        self._ask(f"mark {what}")

    def digest(self, point, mode):
        """Return what tells the image of a kept sync point from others."""
        return self._ask(f"digest {point} {mode}")

    def stop_recording(self):
        """Make no more images at sync points, until `settle`: they cost time."""
        self._ask("stop")

    def keep_present(self, mode):
        """Keep what power that fails at this moment leaves, for `put_back_kept`."""
        self._ask(f"present {mode}")

    def put_back_kept(self):
        """Put in place what `keep_present` kept. Nobody may be at work on the disk."""
        self._ask("return")

    def cut(self, point, mode):
        """Put in place what power that fails right after this sync point leaves."""
        self._ask(f"cut {point} {mode}")

    def _ask(self, line):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self._address)
            with client.makefile("rw") as stream:
                stream.write(f"{line}\n")
                stream.flush()
                return stream.readline().rstrip("\n")


def why_unavailable():
    """Return why this machine cannot mount such a disk, or ``None``."""
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        import mfusepy  # noqa: F401 - whether it loads is the question
    except (ImportError, OSError) as exc:
        return f"mfusepy or the system's libfuse3 is missing: {exc}"
    return None


# --- the file system itself ------------------------------------------------------------------


class Node:
    """A file, a folder or a link, as it is and as it is on disk."""

    numbers = 0

    def __init__(self, mode):
        Node.numbers += 1
        self.number = Node.numbers
        self.mode = mode
        self.changed_at = self.read_at = time.time_ns()
        self.links = 2 if stat.S_ISDIR(mode) else 1
        self.data = bytearray()
        self.target = ""
        self.entries = {}
        self.synced_data = b""
        self.synced_entries = {}

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.mode)

    @property
    def is_synced(self):
        return self.data == self.synced_data

    def torn_data(self):
        """Return what is on disk when the last write was cut in the middle."""
        data = bytes(self.data)
        pairs = zip(data, self.synced_data, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        return data[: same + (len(data) - same) // 2]


def image_of(root, mode):
    """Return every path with its node and, of a file, its bytes, as *mode* leaves them."""
    image = {}

    def walk(node, path):
        entries = node.synced_entries if mode == "strict" else node.entries
        for name, child in entries.items():
            place = f"{path}/{name}"
            data = None
            if not child.is_folder:
                torn = mode == "torn" and not child.is_synced
                data = child.torn_data() if torn else child.synced_data
            image[place] = child, data
            if child.is_folder:
                walk(child, place)

    walk(root, "")
    return image


def digest_of(image):
    """Return a digest of everything that an image holds."""
    digest = hashlib.sha256()
    for place, (node, data) in sorted(image.items()):
        digest.update(f"{place}\0{node.mode}\0{node.target}\0".encode())
        digest.update(data or b"")
    return digest.hexdigest()


def make_disk():
    """Return the operations of the file system; apart, for mfusepy needs the system's library."""
    import mfusepy
    from mfusepy import FuseOSError

    class Disk(mfusepy.Operations):
        use_ns = True

        def __init__(self):
            self.guard = threading.RLock()
            self.root = Node(stat.S_IFDIR | 0o755)
            self.handles = {}
            self.points = []
            self.images = []
            self.kept_images = []
            self.is_recording = True
            self.present_image = {}
            self.settle()

        # power

        def settle(self):
            def walk(node):
                node.synced_entries = dict(node.entries)
                node.synced_data = bytes(node.data)
                for child in node.entries.values():
                    walk(child)

            walk(self.root)
            self.points = ["the start"]
            self.images = [self.all_images()]

        def all_images(self):
            return {mode: image_of(self.root, mode) for mode in MODES}

        def record(self, what):
            if self.is_recording:
                self.points.append(what)
                self.images.append(self.all_images())

        def put_back(self, image):
            self.root = Node(stat.S_IFDIR | 0o755)
            copies = {}
            for place, (original, data) in sorted(image.items()):
                node = copies.get(original.number)
                if node is None:
                    node = copies[original.number] = Node(original.mode)
                    node.number = original.number  # a home is known by its inode
                    node.target, node.changed_at = original.target, original.changed_at
                    node.data = bytearray(data or b"")
                else:
                    node.links += 1
                folder, name = self.parent(place)
                folder.entries[name] = node
            self.settle()

        def answer(self, line):
            verb, *words = line.split()
            with self.guard:
                if verb == "points":
                    return "\t".join(self.points)
                if verb == "settle":
                    self.is_recording = True
                    self.settle()
                elif verb == "keep":
                    self.is_recording = False
                    self.kept_images = self.images
                elif verb == "stop":
                    self.is_recording = False
                elif verb == "present":
                    self.present_image = image_of(self.root, words[0])
                elif verb == "return":
                    self.put_back(self.present_image)
                elif verb == "mark":
                    self.record(" ".join(words))
                elif verb == "digest":
                    return digest_of(self.kept_images[int(words[0])][words[1]])
                else:
                    self.put_back(self.kept_images[int(words[0])][words[1]])
            return "ok"

        # finding

        def node(self, path, handle=None):
            if handle in self.handles:
                return self.handles[handle]
            node = self.root
            for name in path.split("/"):
                if name:
                    if not node.is_folder:
                        raise FuseOSError(errno.ENOTDIR)
                    if name not in node.entries:
                        raise FuseOSError(errno.ENOENT)
                    node = node.entries[name]
            return node

        def parent(self, path):
            folder, _, name = path.rpartition("/")
            return self.node(folder), name

        def add(self, path, node):
            with self.guard:
                folder, name = self.parent(path)
                if name in folder.entries:
                    raise FuseOSError(errno.EEXIST)
                folder.entries[name] = node
                folder.changed_at = time.time_ns()
                return node

        # what the kernel asks

        def getattr(self, path, fh=None):
            with self.guard:
                node = self.node(path, fh)
                size = len(node.target.encode()) if stat.S_ISLNK(node.mode) else len(node.data)
                return {
                    "st_ino": node.number,
                    "st_mode": node.mode,
                    "st_nlink": node.links,
                    "st_uid": os.getuid(),
                    "st_gid": os.getgid(),
                    "st_size": size,
                    "st_atime": node.read_at,
                    "st_mtime": node.changed_at,
                    "st_ctime": node.changed_at,
                }

        def readdir(self, path, fh):
            with self.guard:
                names = {".": self.root, "..": self.root, **self.node(path).entries}
                return [
                    (name, {"st_mode": node.mode, "st_ino": node.number}, 0)
                    for name, node in names.items()
                ]

        def hold(self, node):
            with self.guard:
                number = 1 + max(self.handles, default=0)
                self.handles[number] = node
                return number

        def open(self, path, flags):
            node = self.node(path)
            if flags & os.O_TRUNC:
                node.data[:] = b""
            return self.hold(node)

        def create(self, path, mode, fi=None):
            return self.hold(self.add(path, Node(stat.S_IFREG | mode)))

        def opendir(self, path):
            return self.hold(self.node(path))

        def release(self, path, fh):
            self.handles.pop(fh, None)
            return 0

        releasedir = release

        def read(self, path, size, offset, fh):
            return bytes(self.handles[fh].data[offset : offset + size])

        def write(self, path, data, offset, fh):
            with self.guard:
                node = self.handles[fh]
                node.data.extend(bytes(max(0, offset - len(node.data))))
                node.data[offset : offset + len(data)] = data
                node.changed_at = time.time_ns()
                return len(data)

        def truncate(self, path, length, fh=None):
            with self.guard:
                node = self.node(path, fh)
                del node.data[length:]
                node.data.extend(bytes(length - len(node.data)))
                node.changed_at = time.time_ns()
                return 0

        def flush(self, path, fh):
            return 0

        def fsync(self, path, datasync, fh):
            with self.guard:
                node = self.handles[fh]
                if node.is_folder:
                    node.synced_entries = dict(node.entries)
                else:
                    node.synced_data = bytes(node.data)
                self.record(path)
                return 0

        fsyncdir = fsync

        def mkdir(self, path, mode):
            self.add(path, Node(stat.S_IFDIR | mode))
            return 0

        def mknod(self, path, mode, dev):
            self.add(path, Node(mode))
            return 0

        def symlink(self, target, source):
            self.add(target, Node(stat.S_IFLNK | 0o777)).target = source
            return 0

        def readlink(self, path):
            return self.node(path).target

        def link(self, target, source):
            self.add(target, self.node(source)).links += 1
            return 0

        def unlink(self, path):
            with self.guard:
                node = self.node(path)
                folder, name = self.parent(path)
                del folder.entries[name]
                node.links -= 1
                return 0

        def rmdir(self, path):
            with self.guard:
                if self.node(path).entries:
                    raise FuseOSError(errno.ENOTEMPTY)
                folder, name = self.parent(path)
                del folder.entries[name]
                return 0

        def rename(self, old, new):
            with self.guard:
                node = self.node(old)
                source, name = self.parent(old)
                target, new_name = self.parent(new)
                replaced = target.entries.get(new_name)
                if replaced is node:
                    return 0
                if replaced is not None:
                    if replaced.entries:
                        raise FuseOSError(errno.ENOTEMPTY)
                    replaced.links -= 1
                del source.entries[name]
                target.entries[new_name] = node
                return 0

        def chmod(self, path, mode):
            node = self.node(path)
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
            return 0

        def chown(self, path, uid, gid):
            return 0

        def utimens(self, path, times=None):
            node = self.node(path)
            node.read_at, node.changed_at = times or (time.time_ns(), time.time_ns())
            return 0

        def statfs(self, path):
            return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 20, "f_bavail": 1 << 19}

        def getxattr(self, path, name, position=0):
            raise FuseOSError(errno.ENODATA)

        def access(self, path, mode):
            self.node(path)
            return 0

    return mfusepy.FUSE, Disk()


def listen(disk, address):
    """Take commands, one line a connection."""
    with contextlib.suppress(FileNotFoundError):
        Path(address).unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        while True:
            client, _ = server.accept()
            with client, client.makefile("rw") as stream:
                stream.write(f"{disk.answer(stream.readline())}\n")


def main(mountpoint, address):
    """Mount the disk, and serve it until it is unmounted."""
    fuse, disk = make_disk()
    threading.Thread(target=listen, args=(disk, address), daemon=True).start()
    fuse(
        disk,
        mountpoint,
        foreground=True,
        nothreads=True,
        attr_timeout=0,
        entry_timeout=0,
        use_ino=True,
        default_permissions=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
