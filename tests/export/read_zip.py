# Compares a zip with the tree that it was made of, by Python's zipfile. Prints what differs.
import codecs
import os
import stat
import struct
import sys
import zipfile

archive, top = sys.argv[1], os.fsencode(sys.argv[2])
codecs.register_error("percent", lambda e: ("".join("%%%02X" % b for b in e.object[e.start:e.end]), e.end))
should = {}
for folder, folders, files in os.walk(top):
    for name in folders + files:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            name = os.path.relpath(path, top).decode("utf-8", "percent")
            should[name + "/" if stat.S_ISDIR(mode) else name] = path


def differs(name, what, is_, should):
    if is_ != should:
        print(ascii(name), what, is_, "and not", should)


def extras(bytes_):
    found = {}
    while len(bytes_) >= 4:
        tag, size = struct.unpack("<HH", bytes_[:4])
        found[tag] = bytes_[4:4 + size]
        bytes_ = bytes_[4 + size:]
    return found


def mtime(extra):
    if 0x5455 in extra:
        return struct.unpack("<i", extra[0x5455][1:5])[0]
    ticks = struct.unpack("<Q", extra[0x000a][8:16])[0]
    return ticks // 10**7 - 11644473600


with zipfile.ZipFile(archive) as zip_:
    for info in zip_.infolist():
        # As it is stored: zipfile cuts a name at a zero, of which none has one.
        name = info.orig_filename
        path = should.pop(name, None)
        if path is None:
            print(ascii(name), "is too much, or there twice")
            continue
        st = os.lstat(path)
        extra = extras(info.extra)
        differs(name, "mode", info.external_attr >> 16, st.st_mode)
        differs(name, "folder", bool(info.external_attr & 0x10), stat.S_ISDIR(st.st_mode))
        differs(name, "mtime", mtime(extra), st.st_mtime_ns // 10**9)
        differs(name, "owner", struct.unpack("<BBIBI", extra[0x7875]), (1, 4, st.st_uid, 4, st.st_gid))
        content = zip_.read(info)
        if stat.S_ISLNK(st.st_mode):
            differs(name, "target", content, os.readlink(path))
        elif stat.S_ISREG(st.st_mode):
            differs(name, "content", content == open(path, "rb").read(), True)
for name in should:
    print(ascii(name), "is missing")
print("read")
