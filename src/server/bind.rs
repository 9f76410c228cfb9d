//! Production's listeners: TCP and Unix sockets on async-io, and the pipe that brings signals.
//!
//! Binding is where people's mistakes show, so each error says what was tried, why it failed and what to do. A Unix socket that
//! a dead server left behind is replaced; one that still answers is not, and neither is a file that is no socket.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use async_io::Async;
use futures_lite::{AsyncReadExt, Stream, stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::Signal;
use super::env::{Listener, Peer};
use super::socket::SmolStream;
use crate::config::{Config, Place};
use crate::streams;

/// Opens the sockets that `config` asks for: its Unix socket if it names one, else its host and port.
///
/// A host that has several addresses gets a listener for each, all on one port; with port 0 the system picks it.
///
/// # Errors
///
/// An address in use, a missing permission, a host that has no address: the error's text is for the user.
pub fn bind(config: &Config) -> io::Result<Vec<SmolListener>> {
    if let Some(path) = &config.uds {
        return Ok(vec![bind_unix(path, config.backlog)?]);
    }
    bind_host(&config.host, config.port, config.backlog, config.reuse_port, explain)
}

/// Opens the sockets of the admin address; none if `config` names none.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_admin(config: &Config) -> io::Result<Vec<SmolListener>> {
    let Some(Place { host, port }) = &config.admin else { return Ok(Vec::new()) };
    bind_host(host, *port, ADMIN_BACKLOG, false, |error, place| {
        io::Error::new(error.kind(), format!("cannot listen on {place} for --admin: {error}"))
    })
}

/// Connections that the kernel holds for the admin address.
const ADMIN_BACKLOG: u32 = 64;

fn bind_host(
    host: &str,
    mut port: u16,
    backlog: u32,
    reuse_port: bool,
    explain: impl Fn(io::Error, &str) -> io::Error,
) -> io::Result<Vec<SmolListener>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let mut addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("cannot find an address for the host {host:?}: {error}"))
        })?
        .collect();
    addresses.sort();
    addresses.dedup();
    let mut listeners = Vec::new();
    let mut missing = None;
    for mut address in addresses {
        address.set_port(port);
        match bind_tcp(address, backlog, reuse_port) {
            Ok(listener) => {
                port = listener.address().map_or(port, |address| address.port());
                listeners.push(listener);
            }
            // "localhost" may name an IPv6 address on a machine that has none.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable || error.kind() == ErrorKind::Unsupported => {
                missing = Some(explain(error, &address.to_string()));
            }
            Err(error) => return Err(explain(error, &address.to_string())),
        }
    }
    match (listeners.is_empty(), missing) {
        (false, _) => Ok(listeners),
        (true, Some(error)) => Err(error),
        (true, None) => Err(io::Error::new(ErrorKind::NotFound, format!("the host {host:?} has no address"))),
    }
}

fn bind_tcp(address: SocketAddr, backlog: u32, reuse_port: bool) -> io::Result<SmolListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Lets a server start while connections of the one before it are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = Async::new(TcpListener::from(socket))?;
    let address = listener.get_ref().local_addr()?;
    Ok(SmolListener(Kind::Tcp { listener, address }))
}

fn bind_unix(path: &Path, backlog: u32) -> io::Result<SmolListener> {
    let open = || -> io::Result<Async<UnixListener>> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Async::new(UnixListener::from(OwnedFd::from(socket)))
    };
    let listener = open().map_err(|error| explain(error, &format!("the Unix socket {}", path.display())))?;
    let file = SocketFile::new(path);
    Ok(SmolListener(Kind::Unix { listener, file }))
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is not a socket has this name"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

fn explain(error: io::Error, place: &str) -> io::Error {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => {
            "another process listens there; stop it, or choose another place with --port (0 picks a free port) or \
             --uds, or share the port with a successor by --reuse-port on both"
        }
        ErrorKind::PermissionDenied => {
            "this user may not; choose a port from 1024 up or a directory you may write to, or grant CAP_NET_BIND_SERVICE"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; --host 127.0.0.1 is local, --host 0.0.0.0 is all of its addresses"
        }
        ErrorKind::NotFound => "the directory does not exist; create it first",
        ErrorKind::AlreadyExists => "polygil does not replace it; move it away, or choose another path with --uds",
        _ => return io::Error::new(error.kind(), format!("cannot listen on {place}: {error}")),
    };
    io::Error::new(error.kind(), format!("cannot listen on {place}: {error}: {advice}"))
}

/// A socket that listens.
#[derive(Debug)]
pub struct SmolListener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp { listener: Async<TcpListener>, address: SocketAddr },
    Unix { listener: Async<UnixListener>, file: SocketFile },
}

impl SmolListener {
    /// The TCP address it listens on, with the port that the system picked; None on a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp { address, .. } => Some(*address),
            Kind::Unix { .. } => None,
        }
    }

    /// Where a browser or curl finds it.
    pub fn url(&self) -> String {
        match &self.0 {
            Kind::Tcp { address, .. } => format!("http://{address}"),
            Kind::Unix { file, .. } => format!("unix:{}", file.path.display()),
        }
    }
}

impl Listener for SmolListener {
    type Stream = SmolStream;

    async fn accept(&self) -> io::Result<(SmolStream, Peer)> {
        match &self.0 {
            Kind::Tcp { listener, address } => {
                let (stream, client) = listener.accept().await?;
                let stream = off_standard_streams(stream)?;
                // Answers are written whole: to wait for more to send only delays them.
                // That either fails means that the client is gone, which the connection will find out by itself.
                let _ = stream.get_ref().set_nodelay(true);
                let local = address.ip().is_unspecified().then(|| stream.get_ref().local_addr().ok()).flatten();
                let server = local.unwrap_or(*address);
                Ok((SmolStream::tcp(stream), Peer { client: Some(client), server: Some(server) }))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((SmolStream::unix(off_standard_streams(stream)?), Peer::default()))
            }
        }
    }

    fn is_awaited(&self) -> bool {
        let socket = match &self.0 {
            Kind::Tcp { listener, .. } => listener.as_fd(),
            Kind::Unix { listener, .. } => listener.as_fd(),
        };
        let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn begin_no_more(&self) -> bool {
        match &self.0 {
            Kind::Tcp { listener, .. } => drop_new_syns(listener.get_ref()).is_ok(),
            // A Unix socket has no handshake: who is connected is in the backlog.
            Kind::Unix { .. } => false,
        }
    }

    fn place(&self) -> String {
        self.url()
    }
}

/// A handler that closes a standard stream frees its number, and the next connection gets it: then it gets what is printed, too.
/// So the connection moves to another number, and /dev/null stays where it was.
fn off_standard_streams<S: AsRawFd + AsFd + IntoRawFd + From<OwnedFd>>(stream: Async<S>) -> io::Result<Async<S>> {
    if stream.get_ref().as_raw_fd() >= streams::FIRST_FREE {
        return Ok(stream);
    }
    let stream = stream.into_inner()?;
    let moved = streams::duplicate(&stream)?;
    // /dev/null takes the number over in the same step in which the connection loses it.
    streams::give_away(stream.into_raw_fd())?;
    Async::new(S::from(moved))
}

/// Lets the kernel drop each packet to this listener that begins a connection, and pass those that finish a handshake.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drop_new_syns(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    // Classic BPF; the packet begins at the TCP header, whose byte 13 has the flags: SYN is 0x02, ACK 0x10.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),       // load the byte at 13
        SockFilter::new(0x54, 0, 0, 0x12),     // keep SYN and ACK of it
        SockFilter::new(0x15, 0, 1, 0x02),     // if it is SYN alone
        SockFilter::new(0x06, 0, 0, 0),        // drop it
        SockFilter::new(0x06, 0, 0, u32::MAX), // else keep all of it
    ];
    SockRef::from(listener).attach_filter(&filter)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn drop_new_syns(_: &TcpListener) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// The name of a Unix socket, removed with its listener unless it is someone else's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode of what was bound.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &Path) -> SocketFile {
        SocketFile { path: path.to_owned(), identity: SocketFile::identity(path) }
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && self.identity == SocketFile::identity(&self.path) {
            // Nothing is lost if it stays: the next server replaces a stale socket.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The signals whose numbers are written to a pipe or socket, one byte each, as Python's `signal.set_wakeup_fd` does.
///
/// # Errors
///
/// The descriptor cannot be polled.
pub fn signals_from(fd: OwnedFd) -> io::Result<impl Stream<Item = Signal> + Send + Unpin> {
    let pipe = Async::new(fs::File::from(fd))?;
    Ok(Box::pin(stream::unfold(pipe, |mut pipe| async move {
        let mut number = [0];
        match pipe.read(&mut number).await {
            Ok(1) => Some((Signal(number[0]), pipe)),
            _ => None,
        }
    })))
}
