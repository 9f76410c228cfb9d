//! Where the server listens: families, ports, Unix sockets, what systemd hands over, and what it leaves behind at the stop.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use common::{Answer, PATIENCE, Server, clean, polygil, python, run};

const APP: &str = "from polygil import App\napp = App()\n@app.get('/')\ndef index(request) -> str: return request.client[0] if request.client else 'local'\n";

fn app() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("app.py"), APP).expect("written");
    directory
}

/// Starts it, or says how it ended.
fn serve(directory: &Path, options: &[&str]) -> Result<Server, (Option<i32>, String)> {
    let options = [&["--workers", "1"], options].concat();
    Server::try_start(directory, "app:app", &options).map_err(|(status, log)| (status.code(), log))
}

/// The content of the answer, asked over a connection to this address.
fn ask(stream: impl Read + Write) -> Option<String> {
    let mut stream = stream;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Some(body.to_owned())
}

fn ask_at(address: &str, port: u16) -> Option<String> {
    let address = SocketAddr::new(address.parse().expect("an address"), port);
    ask(TcpStream::connect_timeout(&address, PATIENCE).ok()?)
}

#[test]
fn every_address_is_of_both_families_unless_told_otherwise() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return println!("this machine has no IPv6");
    }
    let directory = app();
    let both = serve(directory.path(), &["--host", "::"]).expect("started");
    assert_eq!(ask_at("127.0.0.1", both.port).as_deref(), Some("127.0.0.1"), "as IPv4 writes it");
    assert_eq!(ask_at("::1", both.port).as_deref(), Some("::1"));
    let one = serve(directory.path(), &["--host", "::", "--ipv6-only"]).expect("started");
    assert_eq!((ask_at("127.0.0.1", one.port), ask_at("::1", one.port).as_deref()), (None, Some("::1")));
    let mapped = serve(directory.path(), &["--host", "::ffff:127.0.0.1"]).expect("started");
    assert_eq!(ask_at("127.0.0.1", mapped.port).as_deref(), Some("127.0.0.1"));
    assert!(mapped.log().contains("http://127.0.0.1:"), "{}", mapped.log());
}

/// In a network of its own, with four ports of which three are taken at the second address.
#[test]
fn a_free_port_is_free_at_every_address_of_the_host() {
    let directory = app();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 both\n::1 both\n").expect("written");
    let inside = "
import os, socket, subprocess, sys
taken = []
for port in (40000, 40001, 40002):
    taken.append(socket.socket(socket.AF_INET6))
    taken[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    taken[-1].bind(('::1', port))
    taken[-1].listen()
server = subprocess.Popen([sys.argv[1], 'serve', 'app:app', '--host', 'both', '--port', '0', '--workers', '1'],
                          stdout=subprocess.PIPE, text=True)
try:
    line = server.stdout.readline()
    with open('/proc/sys/net/ipv4/ip_local_port_range', 'w') as ports:
        ports.write('50000 60000')
    for host in ('127.0.0.1', '::1') if line else ():
        socket.create_connection((host, 40003), 10).close()
finally:
    server.terminate()
print(line.split(' on ')[-1].split(' with ')[0], server.wait())
";
    let script = "mount --bind \"$1\" /etc/hosts && ip link set lo up && \
        echo '40000 40003' > /proc/sys/net/ipv4/ip_local_port_range && exec \"$2\" -c \"$3\" \"$4\"";
    let arguments =
        [hosts.to_str().expect("UTF-8"), python().to_str().expect("UTF-8"), inside, polygil().to_str().expect("UTF-8")]
            .map(str::to_owned);
    let mut command = clean(Path::new("unshare"), directory.path(), &["-r", "-m", "-n", "sh", "-c", script, "sh"]);
    command.args(&arguments);
    let probe = clean(Path::new("unshare"), directory.path(), &["-r", "-m", "-n", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return println!("this machine allows no namespaces");
    }
    let output = common::output_in_time(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "http://127.0.0.1:40003 0\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_live_server_with_a_full_backlog_is_found_alive_at_once() {
    let directory = app();
    let path = directory.path().join("full.sock");
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    let address = socket2::SockAddr::unix(&path).expect("an address");
    full.bind(&address).expect("bound");
    full.listen(0).expect("listens");
    let mut waiting = Vec::new();
    loop {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("set");
        match client.connect(&address) {
            Ok(()) => waiting.push(client),
            Err(error) => break assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    let begun = Instant::now();
    let output = run(directory.path(), &["serve", "app:app", "--uds", path.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("another process listens there"), "{said}");
    assert!(begun.elapsed() < PATIENCE / 2 && path.exists());
}

#[test]
fn a_unix_socket_has_the_permissions_that_were_asked_for_and_goes_with_the_server() {
    let directory = app();
    let path = directory.path().join("polygil.sock");
    let uds = path.to_str().expect("UTF-8");
    for (mode, bits) in [("660", 0o660), ("0600", 0o600), ("0o777", 0o777)] {
        let server = serve(directory.path(), &["--uds", uds, "--uds-mode", mode]).expect("started");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, bits);
        assert_eq!(ask(UnixStream::connect(&path).expect("connects")).as_deref(), Some("local"));
        let port_file = server.port_file();
        assert!(port_file.exists());
        let (status, log) = server.stop();
        assert!(status.success() && !path.exists() && !port_file.exists(), "{log}");
    }
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let directory = app();
    for (options, expected) in [
        (&["--uds", ""][..], "--uds: must not be empty; leave it out for none\n"),
        (&["--port-file", ""], "--port-file: must not be empty; leave it out for none\n"),
        (&["--uds-mode", "660"], "--uds-mode: there is no Unix socket; name it with uds\n"),
        (
            &["--uds", "x", "--uds-mode", "rw-"],
            "--uds-mode: \"rw-\" must be permissions in octal, such as 660, or 600 for this user alone\n",
        ),
        (&["--uds", "x", "--uds-mode", "1777"], "--uds-mode: \"1777\" must be permissions in octal, such as 660"),
        (&["--uds", "x", "--ipv6-only"], "--ipv6-only: a Unix socket has none, and --uds is given; remove one\n"),
        (&["--workers", "0"], "--workers: \"0\" must be auto, or a whole number from 1 to 1024\n"),
    ] {
        let output = run(directory.path(), &[&["serve", "app:app"], options].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.starts_with(expected), "{options:?}: {said}");
    }
}

/// A program that hands a listening socket over as systemd does, and becomes polygil.
fn activated(directory: &Path, kind: &str, count: &str) -> std::process::Command {
    let hand_over = "
import os, socket, sys
kind, count = sys.argv[1:3]
if kind == 'unix':
    one = socket.socket(socket.AF_UNIX)
    one.bind('activated.sock')
elif kind == 'udp':
    one = socket.socket(type=socket.SOCK_DGRAM)
    one.bind(('127.0.0.1', 0))
else:
    one = socket.socket()
    one.bind(('127.0.0.1', 0))
if kind in ('tcp', 'unix'):
    one.listen()
if kind == 'file':
    os.dup2(os.open('app.py', os.O_RDONLY), 3)
elif kind != 'closed':
    os.dup2(one.fileno(), 3)
os.set_inheritable(3, True) if kind != 'closed' else None
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count)
os.execv(sys.argv[3], sys.argv[3:])
";
    let polygil = polygil();
    clean(&python(), directory, &["-c", hand_over, kind, count, polygil.to_str().expect("UTF-8")])
}

#[test]
fn sockets_that_systemd_hands_over_are_served() {
    let directory = app();
    let tcp = Server::start_by(activated(directory.path(), "tcp", "1"), "app:app", &["--port", "1", "--workers", "1"]);
    assert_eq!(ask_at("127.0.0.1", tcp.port).as_deref(), Some("127.0.0.1"));
    let (status, log) = tcp.stop();
    assert!(status.success() && log.contains("listening on what systemd handed over"), "{log}");
    let unix = Server::start_by(activated(directory.path(), "unix", "1"), "app:app", &["--workers", "1"]);
    let path = directory.path().join("activated.sock");
    assert_eq!(ask(UnixStream::connect(&path).expect("connects")).as_deref(), Some("local"));
    assert!(unix.stop().0.success());
    assert!(path.exists(), "the file is systemd's");
}

#[test]
fn what_cannot_be_served_of_it_is_told() {
    let directory = app();
    for (kind, count, words) in [
        ("udp", "1", "descriptor 3, which systemd handed over: it is not a stream socket"),
        ("bound", "1", "descriptor 3, which systemd handed over: it does not listen"),
        ("file", "1", "descriptor 3, which systemd handed over: it is not a socket"),
        ("tcp", "many", "LISTEN_FDS: \"many\" must be the number of sockets"),
        ("tcp", "900", "LISTEN_FDS says 900, and descriptor"),
    ] {
        let mut command = activated(directory.path(), kind, count);
        command.args(["serve", "app:app", "--port", "0"]);
        let output = common::output_in_time(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{kind}: {said}");
        assert!(said.contains(words), "{kind}: {said}");
    }
}

#[test]
fn variables_of_others_with_polygils_prefix_stop_nothing() {
    let directory = app();
    let variables = [
        ("POLYGIL_PORT", "tcp://10.0.0.1:80"),
        ("POLYGIL_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("POLYGIL_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("POLYGIL_PORT_8000_TCP_PORT", "8000"),
        ("POLYGIL_PORT_8000_TCP_PROTO", "tcp"),
        ("POLYGIL_SERVICE_HOST", "10.0.0.1"),
        ("POLYGIL_SERVICE_PORT", "8000"),
        ("POLYGIL_SERVICE_PORT_HTTP", "8000"),
        ("POLYGIL_BIN", "/usr/bin/polygil"),
        ("POLYGIL_DATABASE_URL", "x"),
        ("POLYGIL_WORKRES", "4"),
    ];
    let server = Server::start_with(directory.path(), "app:app", &["--workers", "1"], &variables);
    assert_eq!(ask_at("127.0.0.1", server.port).as_deref(), Some("127.0.0.1"));
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    let service =
        "POLYGIL_PORT: \"tcp://10.0.0.1:80\" is what Kubernetes says of a Service with this name, and is ignored";
    assert!(warnings[0].contains(service), "{log}");
    assert!(warnings[1].contains("POLYGIL_WORKRES: there is no such option; did you mean POLYGIL_WORKERS?"), "{log}");
}

#[test]
fn idle_connections_make_way_when_the_descriptors_run_out() {
    let directory = app();
    let script = "ulimit -n 40; exec \"$0\" \"$@\"";
    let polygil = polygil();
    let program = clean(Path::new("bash"), directory.path(), &["-c", script, polygil.to_str().expect("UTF-8")]);
    let server = Server::start_by(program, "app:app", &["--workers", "1"]);
    let mut clients = Vec::new();
    // Far more than there are descriptors: each is answered, and stays.
    for number in 0..60 {
        let mut client = server.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer: Answer = client.answer("GET");
        assert_eq!(answer.status, 200, "client {number}");
        clients.push(client);
    }
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

#[test]
fn the_directory_of_a_socket_file_is_named_when_it_is_missing() {
    let directory = app();
    let (code, log) = serve(directory.path(), &["--uds", "no/such/socket"]).err().expect("refused");
    assert_eq!(code, Some(2));
    assert!(log.contains("the directory does not exist; create it first"), "{log}");
    let kept = directory.path().join("live.sock");
    let live = UnixListener::bind(&kept).expect("bound");
    let (code, log) = serve(directory.path(), &["--uds", "live.sock"]).err().expect("refused");
    assert_eq!(code, Some(2), "{log}");
    assert!(kept.exists() && live.local_addr().is_ok());
}
