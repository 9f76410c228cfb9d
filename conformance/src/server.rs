//! Servers: by address, by a command, or by a target file that knows how to start one for each setup.
//!
//! A started server is a process group of its own, ended by its own handle whatever happens; its output goes to a file, of which the
//! report shows the end when it does not start. Nothing here knows any server: what differs between them is data in `targets/`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::interrupt::{self, STOP_TIMEOUT};
use crate::preflight::of_io;
use crate::score::FOLDER_VARIABLE;
use crate::shell::replaced_by_last;
use crate::suite::{Setup, parse_file};

/// How long a server may take until it accepts connections.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// `targets/<name>.toml`: how to start a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a target as a table")]
pub struct Target {
    /// What it is.
    pub about: String,
    /// The program, first of the command.
    pub program: Program,
    /// Its arguments; `<<port>>`, `<<app>>`, `<<apps>>` (the directory), `<<root>>` (the suite) and `<<options>>` are filled in.
    pub arguments: Vec<String>,
    /// Arguments of each option that a setup may ask for; `<<name>>`, `<<value>>` and, of a time, `<<seconds>>` are filled in. `*` is for
    /// any other.
    #[serde(default)]
    pub options: BTreeMap<String, Vec<String>>,
    /// Setups that make no sense for it, with the reason.
    #[serde(default)]
    pub without: BTreeMap<String, String>,
    /// Environment variables, filled in as arguments are.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Arguments that print its version.
    #[serde(default)]
    pub version: Vec<String>,
    /// The suites that it is held against where the command line names none; those of a server for polygil's own apps without it.
    #[serde(default)]
    pub suites: Vec<String>,
    /// The Python package whose version it is, where the program does not say.
    pub package: Option<String>,
}

/// Where a program is: a variable that names it, places relative to the suite, beside this program (installed into the same
/// environment), or the name for the search path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a program as a table")]
pub struct Program {
    /// The variable.
    pub env: Option<String>,
    /// The places.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// The name.
    pub name: String,
}

impl Program {
    fn find(&self, root: &Path) -> PathBuf {
        if let Some(path) = self.env.as_ref().and_then(std::env::var_os) {
            return path.into();
        }
        let placed = self.paths.iter().map(|path| root.join(path));
        let beside = std::env::current_exe().ok().map(|program| program.with_file_name(&self.name));
        placed.chain(beside).find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(&self.name))
    }
}

/// Where servers come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// One that runs already.
    Address(SocketAddr),
    /// A shell command; `<<port>>` and `$PORT` are the port to listen on.
    Command(String),
    /// A target.
    Target(Box<Target>),
}

/// Starts servers.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// From where.
    pub source: Source,
    /// The suite's directory.
    pub root: PathBuf,
    /// Another directory with the app, instead of the suite's `app`.
    pub apps: Option<PathBuf>,
}

/// Why there is no server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoServer {
    /// This server cannot be run so by the runner: nothing is known about it.
    CannotConfigure(String),
    /// This server has no such option.
    NoOption(String),
    /// It did not start: why, in one line.
    DidNotStart(String),
}

impl std::fmt::Display for NoServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoServer::CannotConfigure(why) | NoServer::NoOption(why) | NoServer::DidNotStart(why) => f.write_str(why),
        }
    }
}

impl Launcher {
    /// The address of `url`: `http://host:port`, or `host:port`.
    pub fn address_of(url: &str) -> Result<SocketAddr, String> {
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let mut addresses = authority.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        addresses.next().ok_or_else(|| format!("{url} has no address"))
    }

    /// The suites that the server is held against where none is named.
    pub fn suites(&self) -> &[String] {
        match &self.source {
            Source::Target(target) => &target.suites,
            Source::Address(_) | Source::Command(_) => &[],
        }
    }

    /// Reads `targets/<name>.toml`.
    pub fn target(name: &str, root: &Path) -> Result<Source, String> {
        parse_file(&root.join(format!("targets/{name}.toml"))).map(|target| Source::Target(Box::new(target)))
    }

    /// The command that starts the server for this setup on this port.
    fn command(&self, name: &str, setup: &Setup, port: u16) -> Result<Command, NoServer> {
        let target = match &self.source {
            Source::Address(_) => {
                return Err(NoServer::CannotConfigure(format!(
                    "the setup {name} needs a server that the runner starts"
                )));
            }
            Source::Command(line) if name == "default" || setup.is_mirror() => {
                let mut command = Command::new("sh");
                command.arg("-c").arg({
                    // Quoted for the shell: a directory may have any name.
                    let root = format!("'{}'", self.root.display().to_string().replace('\'', "'\\''"));
                    replaced_by_last(&line.replace("<<port>>", &port.to_string()).replace("<<root>>", &root))
                });
                command.env("PORT", port.to_string());
                if setup.is_mirror() {
                    command.env("PYTHONPATH", self.with_mirror());
                }
                command.envs(&setup.env);
                return Ok(command);
            }
            Source::Command(_) => {
                return Err(NoServer::CannotConfigure(format!("the setup {name} needs a target file, not a command")));
            }
            Source::Target(target) => target,
        };
        if let Some(reason) = target.without.get(name) {
            return Err(NoServer::NoOption(reason.clone()));
        }
        let apps = self.apps.clone().unwrap_or_else(|| self.root.join("app"));
        let fill = |text: &str| {
            text.replace("<<port>>", &port.to_string())
                .replace("<<app>>", &setup.app)
                .replace("<<apps>>", &apps.display().to_string())
                .replace("<<root>>", &self.root.display().to_string())
        };
        let mut options = Vec::new();
        for (option, value) in &setup.options {
            let arguments = target.options.get(option).or(target.options.get("*"));
            let arguments =
                arguments.ok_or_else(|| NoServer::NoOption(format!("the server has no option for {option}")))?;
            let filled = arguments.iter().map(|text| text.replace("<<name>>", option).replace("<<value>>", value));
            options.extend(filled.map(|text| text.replace("<<seconds>>", &whole_seconds(value))));
        }
        let mut command = Command::new(target.program.find(&self.root));
        for argument in &target.arguments {
            if argument == "<<options>>" {
                command.args(&options);
            } else {
                command.arg(fill(argument));
            }
        }
        // Found by it, the program need not hear of it, and may refuse what it does not know.
        if let Some(variable) = &target.program.env {
            command.env_remove(variable);
        }
        command.envs(target.env.iter().map(|(name, value)| (name, fill(value))));
        command.envs(&setup.env);
        Ok(command)
    }

    /// The folder of the mirror apps, in front of what Python looks through already.
    fn with_mirror(&self) -> OsString {
        let own = std::env::var_os("PYTHONPATH").unwrap_or_default();
        let paths = std::iter::once(self.root.join("mirror"))
            .chain(std::env::split_paths(&own).filter(|path| !path.as_os_str().is_empty()));
        std::env::join_paths(paths).unwrap_or(own)
    }

    /// Whether the server has what this setup asks for, as far as its target file says.
    pub fn can_run(&self, name: &str, setup: &Setup) -> Result<(), NoServer> {
        self.command(name, setup, 0).map(drop)
    }

    /// Starts a server for this setup, or takes the one that runs, and waits until it accepts connections.
    pub fn launch(&self, name: &str, setup: &Setup) -> Result<Server, NoServer> {
        if let Source::Address(address) = &self.source
            && (name == "default" || setup.is_plain_mirror())
        {
            let folder = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
            return Ok(Server { address: *address, process: None, folder });
        }
        let mut last = String::new();
        // Between choosing a port and the server's bind somebody else may take it.
        for _ in 0..3 {
            let port = free_port();
            match self.launch_on(name, setup, port) {
                Err(NoServer::DidNotStart(why)) if why.to_ascii_lowercase().contains("in use") => last = why,
                other => return other,
            }
        }
        Err(NoServer::DidNotStart(last))
    }

    /// Starts a server on this port.
    pub fn launch_on(&self, name: &str, setup: &Setup, port: u16) -> Result<Server, NoServer> {
        let process = self.spawn(name, setup, port)?;
        let folder = Some(process.folder.path().to_owned());
        let mut server = Server { address: SocketAddr::from(([127, 0, 0, 1], port)), process: Some(process), folder };
        let started = Instant::now();
        loop {
            if TcpStream::connect_timeout(&server.address, Duration::from_secs(1)).is_ok() {
                return Ok(server);
            }
            if let Some(status) = server.exited() {
                return Err(NoServer::DidNotStart(format!("the server ended {}{}", how(status), server.last_words())));
            }
            if started.elapsed() > START_TIMEOUT {
                let address = server.address;
                let why = format!("the server does not listen at {address} within {} s", START_TIMEOUT.as_secs());
                return Err(NoServer::DidNotStart(why + &server.last_words()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the process alone, without waiting for it to listen.
    pub fn spawn(&self, name: &str, setup: &Setup, port: u16) -> Result<Process, NoServer> {
        let mut command = self.command(name, setup, port)?;
        let failed = |error: std::io::Error| NoServer::DidNotStart(of_io(&error));
        // Without a name, so that it goes with the runner however that ends.
        let log = tempfile::tempfile().map_err(failed)?;
        let output = log.try_clone().map_err(failed)?;
        let errors: File = log.try_clone().map_err(failed)?;
        let folder = tempfile::tempdir().map_err(failed)?;
        interrupt::remember(folder.path());
        command.env(FOLDER_VARIABLE, folder.path());
        let program = command.get_program().to_owned();
        let child = interrupt::spawn(command.stdin(Stdio::null()).stdout(output).stderr(errors));
        let child = child.map_err(|error| {
            NoServer::DidNotStart(format!("the program {} cannot be started: {}", program.display(), of_io(&error)))
        })?;
        Ok(Process { child, log, folder })
    }

    /// Whether the program that would be started is there; the error is one line.
    pub fn finds_program(&self) -> Result<(), String> {
        let Source::Target(target) = &self.source else { return Ok(()) };
        let program = target.program.find(&self.root);
        let is_there = if program.components().count() > 1 {
            program.is_file()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|place| place.join(&program).is_file())
        };
        if is_there { Ok(()) } else { Err(format!("the program {} is not there", program.display())) }
    }

    /// What the server says of its version, in one line.
    pub fn version(&self) -> Option<String> {
        let Source::Target(target) = &self.source else { return None };
        let program = target.program.find(&self.root);
        let mut command = match &target.package {
            Some(package) => {
                let mut command = Command::new(program.with_file_name("python"));
                let text = format!("from importlib.metadata import version; print(version({package:?}))");
                command.args(["-c", &text]);
                command
            }
            None => {
                let mut command = Command::new(&program);
                command.args(&target.version);
                command
            }
        };
        if let Some(variable) = &target.program.env {
            command.env_remove(variable);
        }
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // The number alone: `Running uvicorn 0.54.0 with …`.
        let number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
        text.split_whitespace().map(|word| word.trim_matches([',', ')', '('])).find(number).map(str::to_owned)
    }
}

/// `300ms`, `1s` or `2m` in whole seconds, at least one: what most command lines take.
fn whole_seconds(time: &str) -> String {
    let seconds = match (time.strip_suffix("ms"), time.strip_suffix('s'), time.strip_suffix('m')) {
        (Some(milliseconds), _, _) => milliseconds.parse().map_or(1, |count: u64| count.div_ceil(1000)),
        (None, Some(seconds), _) => seconds.parse().unwrap_or(1),
        (None, None, Some(minutes)) => minutes.parse().map_or(1, |count: u64| count * 60),
        _ => 1,
    };
    seconds.to_string()
}

/// How a process ended, in words.
pub fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "in a way that the system does not tell".into(),
    }
}

/// A port that was free just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A process that was started; it ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: File,
    /// Where a mirror app writes what it has to tell.
    folder: tempfile::TempDir,
}

impl Process {
    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        // By place: the position is shared with the one who writes.
        let mut bytes = vec![0; self.log.metadata().map_or(0, |about| about.len() as usize)];
        let length = self.log.read_at(&mut bytes, 0).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < within {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        interrupt::end(&mut self.child, STOP_TIMEOUT);
    }
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Server {
    /// Where.
    pub address: SocketAddr,
    /// The process, where the runner started it.
    pub process: Option<Process>,
    /// Where a mirror app writes what it has to tell, if that is known.
    pub folder: Option<PathBuf>,
}

impl Server {
    /// The same server, for a case that only uses it.
    pub fn borrowed(&self) -> Server {
        Server { address: self.address, process: None, folder: self.folder.clone() }
    }

    /// Its exit status, if it is a process that has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::exited)
    }

    /// The last lines of its output.
    pub fn log_end(&self) -> String {
        let log = self.process.as_ref().map(Process::log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The last line that it wrote, for a sentence; empty where it wrote nothing.
    fn last_words(&self) -> String {
        let end = self.log_end();
        let last = end.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
        let last: String = last.chars().take(300).collect();
        if last.is_empty() { String::new() } else { format!("; its output ends with: {last}") }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        let process = self.process.as_ref().ok_or("signals need a server that the runner starts")?;
        let signal = match name {
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "HUP" => Signal::HUP,
            "KILL" => Signal::KILL,
            _ => return Err(format!("no signal {name}: TERM, INT, HUP or KILL")),
        };
        kill_process(process.pid(), signal).map_err(|error| error.to_string())
    }
}
