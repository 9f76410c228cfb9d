//! Standard output and standard error, which may be full, closed, or a pipe whose reader has left (`| head`): writing to one fails,
//! and does not panic as `println!` does.

use std::io::{self, Write};

use clap::Parser;

/// Writes to standard output.
///
/// # Errors
/// It cannot be written; the text is for the user.
pub fn write_out(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("standard output cannot be written: {error}"))
}

/// Writes a line to standard error. Should that fail, there is nobody to tell.
pub fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{}", text.trim_end()));
}

/// Reads the command line. None when it asked for a help or version text, which is written.
///
/// # Errors
/// What is wrong with it, or standard output cannot be written.
pub fn arguments<A: Parser>() -> Result<Option<A>, String> {
    match A::try_parse() {
        Ok(arguments) => Ok(Some(arguments)),
        Err(error) if error.use_stderr() => error.exit(),
        Err(error) => write_out(&error.render().to_string()).map(|()| None),
    }
}

/// `print!` that returns an error from the function around it.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::out::write_out(&format!($($text)*))? };
}

/// `println!` that returns an error from the function around it.
#[macro_export]
macro_rules! sayln {
    ($($text:tt)*) => { $crate::out::write_out(&(format!($($text)*) + "\n"))? };
}
