//! Production's listeners: TCP and Unix sockets on async-io, and the pipe that brings signals.
//!
//! Binding is where people's mistakes show, so each error says what was tried, why it failed and what to do. A Unix socket that
//! a dead server left behind is replaced; one that still answers is not, and neither is a file that is no socket.
//!
//! Sockets that systemd opened and handed over ([`adopt`]) take the place of all that.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
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
        return Ok(vec![bind_unix(path, config.backlog, config.uds_mode)?]);
    }
    let how = How { backlog: config.backlog, reuse_port: config.reuse_port, ipv6_only: config.ipv6_only };
    bind_host(&config.host, config.port, how, explain)
}

/// Listens on sockets that another process opened, bound and listens on already; their addresses are its affair, and so is a
/// Unix socket's file.
///
/// # Errors
///
/// A descriptor that is no stream socket which listens: the error's text is for the user.
pub fn adopt(inherited: Vec<OwnedFd>) -> io::Result<Vec<SmolListener>> {
    inherited.into_iter().map(|fd| adopt_one(Socket::from(fd))).collect()
}

fn adopt_one(socket: Socket) -> io::Result<SmolListener> {
    let number = socket.as_raw_fd();
    let refused = |what: &str| {
        io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "cannot listen on descriptor {number}, which systemd handed over: {what}; use ListenStream= and Accept=no"
            ),
        )
    };
    let Ok(address) = socket.local_addr() else { return Err(refused("it is not a socket")) };
    if socket.r#type()? != Type::STREAM {
        return Err(refused("it is not a stream socket"));
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !socket.is_listener()? {
        return Err(refused("it does not listen"));
    }
    // A child of a handler has no use for it.
    socket.set_cloexec(true)?;
    if let Some(address) = address.as_socket() {
        let listener = Async::new(TcpListener::from(socket))?;
        return Ok(SmolListener(Kind::Tcp { listener, address, shared: true }));
    }
    let path = address.as_pathname().map_or_else(|| PathBuf::from("(no name)"), Path::to_path_buf);
    let listener = Async::new(UnixListener::from(OwnedFd::from(socket)))?;
    Ok(SmolListener(Kind::Unix { listener, file: NamedFile { path, identity: None } }))
}

/// Opens the sockets of the admin address; none if `config` names none.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_admin(config: &Config) -> io::Result<Vec<SmolListener>> {
    let Some(Place { host, port }) = &config.admin else { return Ok(Vec::new()) };
    let how = How { backlog: ADMIN_BACKLOG, reuse_port: false, ipv6_only: false };
    bind_host(host, *port, how, |error, place| {
        io::Error::new(error.kind(), format!("cannot listen on {place} for --admin: {error}"))
    })
}

/// Connections that the kernel holds for the admin address.
const ADMIN_BACKLOG: u32 = 64;

/// What is asked of a TCP socket.
#[derive(Clone, Copy)]
struct How {
    backlog: u32,
    reuse_port: bool,
    ipv6_only: bool,
}

/// Ports that are tried where the system picks one and a host has several addresses.
const PICKS_MAX: usize = 256;

fn bind_host(
    host: &str,
    port: u16,
    how: How,
    explain: impl Fn(io::Error, &str) -> io::Error,
) -> io::Result<Vec<SmolListener>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let mut addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("cannot find an address for the host {host:?}: {error}"))
        })?
        // ::ffff:127.0.0.1 is an IPv4 address in the clothes of the other family.
        .map(canonical)
        .collect();
    addresses.sort();
    addresses.dedup();
    // A port that is free at the first address may be taken at the second. What was picked then stays bound until the end of the
    // search, so that the system picks another one.
    let mut set_aside = Vec::new();
    loop {
        match bind_all(&addresses, port, how) {
            Ok(listeners) if listeners.is_empty() => {
                return Err(io::Error::new(ErrorKind::NotFound, format!("the host {host:?} has no address")));
            }
            Ok(listeners) => return Ok(listeners),
            Err(Unbound { error, bound, .. })
                if port == 0
                    && error.kind() == ErrorKind::AddrInUse
                    && !bound.is_empty()
                    && set_aside.len() < PICKS_MAX =>
            {
                set_aside.push(bound);
            }
            Err(Unbound { error, address, .. }) => return Err(explain(error, &address.to_string())),
        }
    }
}

/// Why not all addresses could be bound: at which one, and what was bound before it.
struct Unbound {
    error: io::Error,
    address: SocketAddr,
    bound: Vec<SmolListener>,
}

/// A listener for each address, all on one port.
fn bind_all(addresses: &[SocketAddr], mut port: u16, how: How) -> Result<Vec<SmolListener>, Unbound> {
    let mut bound: Vec<SmolListener> = Vec::new();
    let mut missing = None;
    let both_families = addresses.iter().any(SocketAddr::is_ipv4);
    for &(mut address) in addresses {
        address.set_port(port);
        // Every IPv4 address is among those of `::`, but where an IPv4 address has a socket of its own.
        let ipv6_only = how.ipv6_only || both_families || address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        match bind_tcp(address, How { ipv6_only, ..how }) {
            Ok(listener) => {
                port = listener.address().map_or(port, |address| address.port());
                bound.push(listener);
            }
            // "localhost" may name an IPv6 address on a machine that has none.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable || error.kind() == ErrorKind::Unsupported => {
                missing = Some((error, address));
            }
            Err(error) => return Err(Unbound { error, address, bound }),
        }
    }
    match missing {
        Some((error, address)) if bound.is_empty() => Err(Unbound { error, address, bound }),
        _ => Ok(bound),
    }
}

fn bind_tcp(address: SocketAddr, how: How) -> io::Result<SmolListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Lets a server start while connections of the one before it are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if how.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(how.ipv6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(how.backlog).unwrap_or(i32::MAX))?;
    let listener = Async::new(TcpListener::from(socket))?;
    let address = listener.get_ref().local_addr()?;
    Ok(SmolListener(Kind::Tcp { listener, address, shared: false }))
}

fn bind_unix(path: &Path, backlog: u32, mode: Option<u32>) -> io::Result<SmolListener> {
    let open = || -> io::Result<SmolListener> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        // Removed again should the next steps fail.
        let file = NamedFile::new(path);
        if let Some(mode) = mode {
            // Nobody can connect before it listens: there is no moment in which others may who must not.
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let listener = Async::new(UnixListener::from(OwnedFd::from(socket)))?;
        Ok(SmolListener(Kind::Unix { listener, file }))
    };
    open().map_err(|error| explain(error, &format!("the Unix socket {}", path.display())))
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
    // A server whose backlog is full lives, too: this look does not wait for its turn.
    let look = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    look.set_nonblocking(true)?;
    match look.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
        Ok(()) => Err(ErrorKind::AddrInUse.into()),
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
    /// `shared` with the process that opened it, which listens on when this one ends.
    Tcp {
        listener: Async<TcpListener>,
        address: SocketAddr,
        shared: bool,
    },
    Unix {
        listener: Async<UnixListener>,
        file: NamedFile,
    },
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
            Kind::Tcp { listener, address, .. } => {
                let (stream, client) = listener.accept().await?;
                let stream = off_standard_streams(stream)?;
                // Answers are written whole: to wait for more to send only delays them.
                // That either fails means that the client is gone, which the connection will find out by itself.
                let _ = stream.get_ref().set_nodelay(true);
                let local = address.ip().is_unspecified().then(|| stream.get_ref().local_addr().ok()).flatten();
                let server = local.unwrap_or(*address);
                Ok((SmolStream::tcp(stream), Peer { client: Some(canonical(client)), server: Some(canonical(server)) }))
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
            // Whoever comes after the end is for the next one who is given it.
            Kind::Tcp { shared: true, .. } => false,
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

/// Of an IPv4 client of a socket of both families, the address as IPv4 writes it.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(address.ip().to_canonical(), address.port())
        }
        _ => address,
    }
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

/// A file that is there for as long as the server, a Unix socket or a port file: removed when this is dropped, unless its name is
/// someone else's by then.
#[derive(Debug)]
pub struct NamedFile {
    path: PathBuf,
    /// Device and inode of what the server made; None for what is not its own.
    identity: Option<(u64, u64)>,
}

impl NamedFile {
    /// Takes over the file that has this name now.
    pub fn new(path: &Path) -> NamedFile {
        NamedFile { path: path.to_owned(), identity: NamedFile::identity(path) }
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        if self.identity.is_some() && self.identity == NamedFile::identity(&self.path) {
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
