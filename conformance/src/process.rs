//! The steps that are about processes: starts that fail, signals, exits, logs.

use std::time::{Duration, Instant};

use crate::case::Step;
use crate::exec::Context;
use crate::server::{Server, free_port, how};

/// How long a server may take to end, or to fail to start.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a line of the log may take.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// Does what `step` says about processes.
pub fn step(step: &Step, setup: &str, context: Context<'_>, server: &mut Server) -> Result<(), String> {
    if let Some(start) = &step.start {
        failing_start(start, context)?;
    }
    if let Some(signal) = &step.signal {
        server.signal(signal)?;
    }
    if let Some(text) = &step.log {
        let started = Instant::now();
        let log = || server.process.as_ref().map(|process| process.log()).unwrap_or_default();
        while !log().contains(text.as_str()) {
            if started.elapsed() > LOG_TIMEOUT || server.process.is_none() {
                return Err(format!("the output does not contain {text:?}; its end is:\n{}", server.log_end()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if let Some(text) = &step.no_log {
        let process = server.process.as_ref().ok_or("a log needs a server that the runner starts")?;
        if process.log().contains(text.as_str()) {
            return Err(format!("the output contains {text:?}; its end is:\n{}", server.log_end()));
        }
    }
    if step.exit.is_some() || step.ends {
        let process = server.process.as_mut().ok_or("exits need a server that the runner starts")?;
        match process.wait(EXIT_TIMEOUT) {
            Some(status) if step.exit.is_none() || status.code() == step.exit => {}
            Some(status) => {
                return Err(format!(
                    "the server ended {}, not with exit code {}:\n{}",
                    how(status),
                    step.exit.unwrap_or_default(),
                    server.log_end()
                ));
            }
            None => return Err("the server does not end".into()),
        }
    }
    if step.restart {
        let port = server.address.port();
        server.process = None;
        let again = context.launcher.launch_on(setup, &context.suite.setups[setup], port);
        *server = again.map_err(|why| format!("the server does not start again: {why}"))?;
    }
    Ok(())
}

fn failing_start(start: &crate::case::Start, context: Context<'_>) -> Result<(), String> {
    let setup = context.suite.setups.get(&start.setup).ok_or_else(|| format!("no setup {}", start.setup))?;
    let mut process = context.launcher.spawn(&start.setup, setup, free_port()).map_err(|why| why.to_string())?;
    let status = process.wait(EXIT_TIMEOUT).ok_or("the server started, and should not")?;
    let log = process.log();
    if let Some(code) = start.exit
        && status.code() != Some(code)
    {
        return Err(format!("the server ended {}, not with exit code {code}:\n{log}", how(status)));
    }
    match start.output.iter().find(|text| !log.contains(text.as_str())) {
        Some(text) => Err(format!("the output does not contain {text:?}:\n{log}")),
        None => Ok(()),
    }
}
