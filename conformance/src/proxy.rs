//! A proxy that is started for one command: its configuration lies in a temporary directory, and its process ends with its value.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::interrupt::{self, STOP_TIMEOUT};
use crate::preflight::of_io;
use crate::server::{free_port, how};

/// How long a proxy may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// nginx, 1.19.5 or later.
    Nginx,
    /// HAProxy, 2.2 or later.
    Haproxy,
}

impl Kind {
    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
        }
    }
}

/// What the proxy puts into fields of its own. Nobody else knows these words.
#[derive(Debug, Clone)]
pub struct Marks {
    /// Before the method, in each request that it sends.
    pub request: String,
    /// In each answer to the client that is the server's.
    pub relayed: String,
    /// Before the status, in each answer to the client.
    pub status: String,
}

/// A proxy that listens.
#[derive(Debug)]
pub struct Proxy {
    /// Where.
    pub address: SocketAddr,
    child: Child,
    /// Its configuration and what it writes.
    place: tempfile::TempDir,
}

impl Proxy {
    /// Starts it in front of `server`. The error is one line.
    pub fn start(kind: Kind, server: SocketAddr, marks: &Marks) -> Result<Self, String> {
        let mut last = String::new();
        // Between choosing a port and the proxy's bind somebody else may take it.
        for _ in 0..3 {
            match Self::start_on(kind, free_port(), server, marks)? {
                Ok(proxy) => return Ok(proxy),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// The inner error is one that another port may mend.
    fn start_on(kind: Kind, port: u16, server: SocketAddr, marks: &Marks) -> Result<Result<Self, String>, String> {
        let name = kind.program();
        let failed = |error: std::io::Error| format!("{name}: {}", of_io(&error));
        let place = tempfile::tempdir().map_err(failed)?;
        interrupt::remember(place.path());
        let file = place.path().join("proxy.conf");
        let directory = place.path().display().to_string();
        let (text, arguments) = match kind {
            Kind::Nginx => (nginx(port, server, marks, &directory), vec!["-p", &directory, "-e", "error.log", "-c"]),
            Kind::Haproxy => (haproxy(port, server, marks), vec!["-db", "-f"]),
        };
        std::fs::write(&file, text).map_err(failed)?;
        let log = std::fs::File::create(place.path().join("output.log")).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let mut command = Command::new(name);
        command.args(arguments).arg(&file).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = interrupt::spawn(&mut command).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!(
                    "--through {name}: the program {name} is not there; install it (Debian, Ubuntu: apt install {name})"
                )
            }
            _ => format!("--through {name}: the program {name} cannot be started: {}", of_io(&error)),
        })?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut proxy = Self { address, child, place };
        let started = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(status) = proxy.child.try_wait().ok().flatten() {
                return Ok(Err(format!("{name} ended {}{}", how(status), proxy.last_words())));
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!(
                    "{name} does not listen within {} s{}",
                    START_TIMEOUT.as_secs(),
                    proxy.last_words()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Ok(proxy))
    }

    /// In one line how it ended, if it did.
    pub fn gone(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the proxy ended {} meanwhile{}", how(status), self.last_words()))
    }

    fn last_words(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.place.path().join(name)).unwrap_or_default();
        let text = read("error.log") + &read("output.log");
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
        if last.is_empty() { String::new() } else { format!("; its output ends with: {last}") }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        interrupt::end(&mut self.child, STOP_TIMEOUT);
    }
}

/// Content is passed on as it comes and connections to the server are kept: a proxy that repairs less shows more.
fn nginx(port: u16, server: SocketAddr, marks: &Marks, directory: &str) -> String {
    let Marks { request, relayed, status } = marks;
    format!(
        r#"daemon off;
master_process off;
pid "{directory}/pid";
error_log "{directory}/error.log" crit;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path "{directory}/body";
  proxy_temp_path "{directory}/proxy";
  fastcgi_temp_path "{directory}/fastcgi";
  uwsgi_temp_path "{directory}/uwsgi";
  scgi_temp_path "{directory}/scgi";
  client_header_timeout 500ms;
  client_body_timeout 500ms;
  client_max_body_size 0;
  ignore_invalid_headers off;
  underscores_in_headers on;
  map $upstream_header_time $relayed {{ "~^[0-9]" "{relayed}"; default ""; }}
  upstream server {{ server {server} max_fails=0; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    # An answer in the manner of HTTP/0.9 has no fields, and so no marks.
    if ($server_protocol !~ "^HTTP/1") {{ return 400; }}
    add_header X-Judge-Relayed $relayed always;
    add_header X-Judge-Status "{status} $status" always;
    location / {{
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_next_upstream off;
      proxy_read_timeout 2s;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Judge "{request} $request_method";
    }}
  }}
}}
"#
    )
}

fn haproxy(port: u16, server: SocketAddr, marks: &Marks) -> String {
    let Marks { request, relayed, status } = marks;
    format!(
        r#"global
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout server 2s
  timeout http-request 500ms
  timeout http-keep-alive 1s
  retries 0
frontend clients
  bind 127.0.0.1:{port}
  option http-buffer-request
  http-request set-header X-Judge "{request} %[method]"
  http-response set-header X-Judge-Relayed "{relayed}"
  http-after-response set-header X-Judge-Status "{status} %[status]"
  default_backend servers
backend servers
  http-reuse always
  server one {server}
"#
    )
}
