//! A conversation between two processes of ours over a pair of connected sockets: messages, with open descriptors.
//!
//! A message is eight bytes (how many bytes and how many descriptors follow), then the bytes, then one byte for each
//! handful of descriptors, which travel with it (`SCM_RIGHTS`). When the other process is gone, however it went, the conversation ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tutti_core::limits::{LINK_DESCRIPTORS, LINK_MESSAGE_BYTES};

/// Descriptors that travel with one byte; the kernel takes 253.
const HANDFUL: usize = 64;

/// One end.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
}

impl Link {
    /// Two ends: one for here, and one for another process. Inside a runtime.
    pub fn pair() -> io::Result<(Link, OwnedFd)> {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        near.set_nonblocking(true)?;
        Ok((Link { socket: UnixStream::from_std(near)? }, far.into()))
    }

    /// The end that another process has given us. Inside a runtime.
    pub fn of(socket: OwnedFd) -> io::Result<Link> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Link { socket: UnixStream::from_std(socket)? })
    }

    /// The same end once more, to be handed on. Only one of the two may be used.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Sends a message. When its future is dropped half-way, the conversation is at its end.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let too_much = || io::Error::new(io::ErrorKind::InvalidInput, "the message is too large");
        if bytes.len() > LINK_MESSAGE_BYTES || descriptors.len() > LINK_DESCRIPTORS {
            return Err(too_much());
        }
        let count = |number: usize| u32::try_from(number).map_err(|_| too_much());
        let mut head = [0_u8; 8];
        let (first, second) = head.split_at_mut(4);
        first.copy_from_slice(&count(bytes.len())?.to_be_bytes());
        second.copy_from_slice(&count(descriptors.len())?.to_be_bytes());
        let whole = [&head, bytes].concat();
        self.write(&whole, &[]).await?;
        for handful in descriptors.chunks(HANDFUL) {
            self.write(&[0], handful).await?;
        }
        Ok(())
    }

    /// The next message; `None`: the other process is gone. Not to be dropped half-way, unless nothing more is to be received.
    pub async fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let (mut head, mut descriptors) = ([0_u8; 8], Vec::new());
        if !self.read(&mut head, &mut descriptors).await? {
            return Ok(None);
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (first, second) = head.split_at(4);
        let (length, count) = (number(first), number(second));
        if length > LINK_MESSAGE_BYTES || count > LINK_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
        }
        let mut bytes = vec![0; length];
        self.whole(&mut bytes, &mut descriptors).await?;
        for handful in 1..=count.div_ceil(HANDFUL) {
            self.whole(&mut [0], &mut descriptors).await?;
            if descriptors.len() < count.min(handful * HANDFUL) {
                // The kernel drops what the receiver has no room for.
                return Err(io::Error::other("descriptors were lost: the limit of open files is reached"));
            }
        }
        Ok(Some((bytes, descriptors)))
    }

    /// Waits until the other process is gone. Whatever it still says is ignored.
    pub async fn gone(&self) {
        let mut sink = [0_u8; 256];
        while let Ok(true) = self.some(&mut sink, &mut Vec::new()).await.map(|count| count > 0) {}
    }

    async fn write(&self, mut bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut with = descriptors;
        while !bytes.is_empty() {
            self.socket.writable().await?;
            match self.socket.try_io(Interest::WRITABLE, || send(&self.socket, bytes, with)) {
                Ok(sent) => {
                    bytes = bytes.get(sent..).unwrap_or_default();
                    with = &[];
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `into`. `false`: the other process was gone before the first byte.
    async fn read(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.some(rest, descriptors).await? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(true)
    }

    async fn whole(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<()> {
        let whole = self.read(into, descriptors).await?;
        if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn some(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || receive(&self.socket, into, descriptors)) {
                Err(error) if is_passing(&error) => {}
                done => return done,
            }
        }
    }
}

/// Keeps an end open in a program that is to be started, under the same number, and gives the program a session of its own: what is sent to the
/// terminal's foreground is not meant for it.
pub fn hand_down(command: &mut Command, end: &OwnedFd) {
    let number = end.as_raw_fd();
    // SAFETY: the closure makes two system calls, which is safe between fork and exec, and allocates nothing. The number is open there, as the caller
    // has the end until the program is started.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            let _ = rustix::process::setsid();
            rustix::io::fcntl_setfd(BorrowedFd::borrow_raw(number), FdFlags::empty())?;
            Ok(())
        });
    }
}

/// The end that this process was started with, by its number; see [`hand_down`]. `None`: there is nothing of that number, or no socket. To be asked
/// before anything else is opened, or something else may have the number.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: it is only borrowed to set a flag, which fails if it is not open.
    #[allow(unsafe_code)]
    let open = rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::CLOEXEC);
    open.ok()?;
    // SAFETY: it is open, and the caller names it as the one that was handed down, which nobody else owns.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::net::sockopt::socket_type(&socket).is_ok().then_some(socket)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDFUL))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[cfg(target_os = "linux")]
    let flags = SendFlags::NOSIGNAL;
    #[cfg(not(target_os = "linux"))]
    let flags = SendFlags::empty();
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
}

fn receive(socket: impl AsFd, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDFUL))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let got = recvmsg(socket, &mut [IoSliceMut::new(into)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(got.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[tokio::test]
    async fn messages_keep_their_descriptors_however_many_there_are() {
        let (near, far) = Link::pair().unwrap();
        let far = Link::of(far).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let many = vec![writer.as_fd(); 200];
        let text = vec![7_u8; 1 << 20];
        let ((), got) = tokio::join!(
            async {
                near.send(b"first", &[]).await.unwrap();
                near.send(&text, &many).await.unwrap();
                near.send(b"", &[reader.as_fd()]).await.unwrap();
            },
            async {
                let mut got = Vec::new();
                for _ in 0..3 {
                    got.push(far.receive().await.unwrap().unwrap());
                }
                got
            }
        );
        let counts: Vec<(usize, usize)> = got.iter().map(|(bytes, fds)| (bytes.len(), fds.len())).collect();
        assert_eq!(counts, [(5, 0), (1 << 20, 200), (0, 1)]);
        let (mut all, mut read) =
            (got.into_iter().flat_map(|(_, fds)| fds).collect::<Vec<_>>(), String::new());
        let mut end = std::fs::File::from(all.pop().unwrap());
        for fd in all {
            std::fs::File::from(fd).write_all(b"x").unwrap();
        }
        drop(writer);
        end.read_to_string(&mut read).unwrap();
        assert_eq!(read.len(), 200);
    }

    #[tokio::test]
    async fn the_end_of_the_other_process_is_the_end_of_the_conversation() {
        let (near, far) = Link::pair().unwrap();
        drop(far);
        assert!(near.receive().await.unwrap().is_none());
        near.gone().await;
        assert!(near.send(b"x", &[]).await.is_err());
    }

    #[tokio::test]
    async fn a_message_that_claims_too_much_is_refused() {
        let (near, far) = Link::pair().unwrap();
        std::os::unix::net::UnixStream::from(far).write_all(&[0xff; 8]).unwrap();
        assert!(near.receive().await.is_err());
    }
}
