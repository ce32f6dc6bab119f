//! Mounting for users other than root: `fusermount3`, which may do it for them, opens the device, mounts, and
//! hands the open device over a socket. The device itself need not be theirs.
//!
//! Source: `util/fusermount.c` of libfuse: the socket's number stands in `_FUSE_COMMFD`, and one message
//! with the descriptor comes back.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::mount::session::SUBTYPE;

/// The program, which the package fuse3 has.
const PROGRAM: &str = "fusermount3";
/// Where it looks for its socket.
const SOCKET: &str = "_FUSE_COMMFD";

/// Mounts on `target`; the open device.
pub fn mount(target: &Path, others: bool) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut options = format!("ro,nosuid,nodev,fsname={SUBTYPE},subtype={SUBTYPE}");
    if others {
        options += ",allow_other,default_permissions";
    }
    let mut command = Command::new(PROGRAM);
    command.arg("-o").arg(options).arg("--").arg(target);
    command.env(SOCKET, theirs.as_raw_fd().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // It must live on in the child, and as nothing else is started meanwhile, in that one alone.
    fcntl_setfd(&theirs, FdFlags::empty())?;
    let child = command.spawn().map_err(missing)?;
    drop(theirs);
    let device = receive(&ours);
    let output = child.wait_with_output()?;
    match device? {
        Some(device) if output.status.success() => Ok(device),
        _ => Err(said(&output.stderr)),
    }
}

/// Unmounts what was mounted on `target`; with `detach` also what is in use.
pub fn unmount(target: &Path, detach: bool) -> io::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.arg("-u").args(detach.then_some("-z")).arg("--").arg(target);
    let output = command.stdin(Stdio::null()).output().map_err(missing)?;
    if output.status.success() { Ok(()) } else { Err(said(&output.stderr)) }
}

/// The descriptor that comes through the socket; `None` if it is closed without one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut messages = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut bytes, &mut messages, RecvFlags::CMSG_CLOEXEC)?;
    let device = messages.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(device)
}

fn missing(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), format!("{PROGRAM} is not installed")),
        _ => error,
    }
}

fn said(stderr: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(stderr).trim().to_owned())
}
