//! A line for `sh`, such that the process that comes of it is the server and not a shell in front of it.
//!
//! `--start` takes what a shell takes: quotes, variables, `NAME=value` in front, `cd … && …`. A shell that waits for its last command
//! would get the signals meant for the server, and its exit code would be the shell's. So the last command is run by `exec`, where that is
//! plainly possible; any other line is left as it is, and its whole group of processes is what gets ended.

/// Words that `exec` cannot run: the shell's own.
const SHELLS_OWN: [&str; 16] = [
    "if", "while", "until", "for", "case", "{", "!", "exec", "eval", ".", "cd", "export", "set", "wait", "trap",
    "function",
];

/// The line with `exec` in front of its last command, where that is a simple one.
pub fn replaced_by_last(line: &str) -> String {
    let line = line.trim();
    let Some(start) = last_command(line) else { return line.to_owned() };
    let (before, last) = line.split_at(start);
    let last = last.trim_start();
    let first = last.split_whitespace().next().unwrap_or("");
    let closes = ["done", "fi", "esac", "}"];
    if first.is_empty() || SHELLS_OWN.contains(&first) || closes.contains(&first) {
        return line.to_owned();
    }
    // `exec NAME=value program` would look for a program of that name.
    let env = if is_assignment(first) { "env " } else { "" };
    let space = if before.is_empty() || before.ends_with(' ') { "" } else { " " };
    format!("{before}{space}exec {env}{last}")
}

/// Where the last command begins; None where the line is more than a list of simple commands joined by `&&` and `;`.
fn last_command(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let (mut start, mut at) = (0, 0);
    let mut quote = None;
    while at < bytes.len() {
        match (bytes[at], quote) {
            (b'\\', None | Some(b'"')) => at += 1,
            (b'$' | b'`', _) if bytes[at] == b'`' || bytes.get(at + 1) == Some(&b'(') => return None,
            (byte, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => {}
            (byte @ (b'"' | b'\''), None) => quote = Some(byte),
            (b'&', None) if bytes.get(at + 1) == Some(&b'&') => {
                at += 1;
                start = at + 1;
            }
            (b';' | b'\n', None) => start = at + 1,
            // Both sides of a redirection are one command still: `2>&1` among them.
            (b'&', None) if at > 0 && b"<>".contains(&bytes[at - 1]) => {}
            (b'&' | b'|' | b'(' | b')' | b'#', None) => return None,
            _ => {}
        }
        at += 1;
    }
    quote.is_none().then_some(start)
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_command_takes_the_place_of_the_shell() {
        for (line, expected) in [
            ("python server.py 8000", "exec python server.py 8000"),
            ("  ./server ", "exec ./server"),
            ("A=1 B='2 3' ./server", "exec env A=1 B='2 3' ./server"),
            ("cd /tmp && ./server", "cd /tmp && exec ./server"),
            ("cd /tmp&&A=1 ./server", "cd /tmp&& exec env A=1 ./server"),
            ("a; b 'x && y; z'", "a; exec b 'x && y; z'"),
            ("python -c \"print('a;b')\"", "exec python -c \"print('a;b')\""),
            ("./server > log 2>&1", "exec ./server > log 2>&1"),
            ("exec ./server", "exec ./server"),
            ("./server | tee log", "./server | tee log"),
            ("a || b", "a || b"),
            ("./server &", "./server &"),
            ("(cd x; ./server)", "(cd x; ./server)"),
            ("echo $(date)", "echo $(date)"),
            ("'open", "'open"),
            ("", ""),
        ] {
            assert_eq!(replaced_by_last(line), expected, "{line}");
        }
    }

    #[test]
    fn a_compound_command_is_left_to_the_shell() {
        for line in
            ["while true; do ./server; done", "if true; then ./server; fi", "for a in b; do c; done", "{ a; b; }"]
        {
            assert_eq!(replaced_by_last(line), line);
        }
    }
}
