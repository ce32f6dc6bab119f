# Compares a tar with the tree that it was made of, by Python's tarfile. Prints what differs.
import os
import stat
import sys
import tarfile
from decimal import Decimal

archive, top = sys.argv[1], os.fsencode(sys.argv[2])
KINDS = [("isreg", stat.S_ISREG), ("isdir", stat.S_ISDIR), ("issym", stat.S_ISLNK), ("isfifo", stat.S_ISFIFO),
         ("ischr", stat.S_ISCHR), ("isblk", stat.S_ISBLK)]
found = {}


def differs(path, what, is_, should):
    if is_ != should:
        print(path, what, is_, "and not", should)


def same_bytes(file, path):
    with open(path, "rb") as source:
        while True:
            ours, theirs = file.read(1 << 20), source.read(1 << 20)
            if ours != theirs:
                return False
            if not ours:
                return True


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as tar:
    for member in tar:
        name = os.fsencode(member.name)
        path = os.path.join(top, name)
        if name in found:
            print(name, "is there twice")
        found[name] = member
        st = os.lstat(path)
        if member.islnk():
            first = os.fsencode(member.linkname)
            differs(name, "link", os.lstat(os.path.join(top, first)).st_ino, st.st_ino)
            differs(name, "first name", first in found, True)
            continue
        for is_kind, has_kind in KINDS:
            differs(name, is_kind, getattr(member, is_kind)(), has_kind(st.st_mode))
        differs(name, "mode", member.mode, stat.S_IMODE(st.st_mode))
        differs(name, "owner", (member.uid, member.gid), (st.st_uid, st.st_gid))
        mtime = Decimal(member.pax_headers.get("mtime", str(int(member.mtime))))
        differs(name, "mtime", mtime, Decimal(st.st_mtime_ns) / 10**9)
        differs(name, "birth", "LIBARCHIVE.creationtime" in member.pax_headers, "--birth" in sys.argv)
        if member.isreg():
            differs(name, "size", member.size, st.st_size)
            differs(name, "content", same_bytes(tar.extractfile(member), path), True)
        if member.issym():
            differs(name, "target", os.fsencode(member.linkname), os.readlink(path))
        if member.ischr() or member.isblk():
            device = (os.major(st.st_rdev), os.minor(st.st_rdev))
            differs(name, "device", (member.devmajor, member.devminor), device)
        told = {key[len("SCHILY.xattr."):]: os.fsencode(value)
                for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
        differs(name, "attributes", {os.fsencode(key): value for key, value in told.items()},
                {os.fsencode(key): value for key, value in xattrs(path).items()})

should = set()
for folder, folders, files in os.walk(top):
    for name in folders + files:
        path = os.path.join(folder, name)
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            should.add(os.path.relpath(path, top))
for name in should ^ set(found):
    print(name, "is too much" if name in found else "is missing")
print(len(found), "entries")
