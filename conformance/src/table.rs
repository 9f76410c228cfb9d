//! The comparison: cases down, servers across, as Markdown for the repository and as HTML with the reason behind each cell.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::case::Level;
use crate::verdict::{CaseResult, Run, Verdict};

/// One server.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its results.
    pub run: Run,
    /// Its version.
    pub version: String,
}

/// Today as `YYYY-MM-DD`, in UTC.
pub fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    date_of(days)
}

/// The date that many days after 1970-01-01 (the algorithm is Howard Hinnant's `civil_from_days`).
fn date_of(days: u64) -> String {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "✓",
        Verdict::Lenient => "~",
        Verdict::Unimplemented => "–",
        Verdict::Failed => "✗",
        Verdict::Skipped => "",
    }
}

const LEGEND: &str = "✓ as the rule says · ~ another way that the rule lets pass · – the server does not have the feature, or no option \
                      for it · ✗ against the rule";

/// The rows: every case of the first column, with each server's result.
fn rows(columns: &[Column]) -> Vec<Vec<&CaseResult>> {
    let Some(first) = columns.first() else { return Vec::new() };
    let row = |id: &str| {
        columns.iter().filter_map(|column| column.run.results.iter().find(|result| result.id == id)).collect()
    };
    first.run.results.iter().map(|result| row(&result.id)).collect()
}

/// Sums by suite and level, for the short table.
fn sums(columns: &[Column]) -> Vec<(String, Vec<String>)> {
    let mut sums = Vec::new();
    let suites = ["http", "conversion", "dispatch", "lifecycle", "wsgi", "asgi"];
    for suite in suites {
        for level in [Level::Must, Level::Should, Level::May] {
            let of = |column: &Column| {
                let fits = |result: &&CaseResult| result.suite == suite && result.level == level;
                let all = column.run.results.iter().filter(fits).count();
                let passed = column.run.results.iter().filter(fits).filter(|result| result.verdict.passes()).count();
                (passed, all)
            };
            let cells: Vec<_> = columns.iter().map(of).collect();
            if cells.iter().any(|(_, all)| *all > 0) {
                let cells = cells.into_iter().map(|(passed, all)| format!("{passed}/{all}")).collect();
                sums.push((format!("{suite}, {}", level.name()), cells));
            }
        }
    }
    let all = columns.iter().map(|column| format!("{}/{}", column.run.passed(), column.run.total())).collect();
    sums.push(("all".into(), all));
    sums
}

/// The table as Markdown: sums first, then each case.
pub fn markdown(columns: &[Column], date: &str) -> String {
    let mut text = format!("<!-- made by `make compare` -->\n\n# Cases and servers, {date}\n\n");
    let heads: Vec<_> = columns.iter().map(|column| format!("{} {}", column.run.server, column.version)).collect();
    let _ = writeln!(text, "Passed, of the cases of each suite and level:\n");
    let _ = writeln!(text, "| | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len()));
    for (name, cells) in sums(columns) {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    let _ = writeln!(text, "\n{LEGEND}\n");
    let mut topic = String::new();
    for row in rows(columns) {
        let (of, id) = row[0].id.rsplit_once('/').unwrap_or(("", &row[0].id));
        if of != topic {
            topic = of.to_owned();
            let _ = writeln!(text, "\n## {of}\n");
            let names: Vec<_> = columns.iter().map(|column| column.run.server.as_str()).collect();
            let _ = writeln!(text, "| case | rule | {} |\n|---|---|{}", names.join(" | "), ":-:|".repeat(names.len()));
        }
        let cells: Vec<_> = row.iter().map(|result| mark(result.verdict)).collect();
        let title = row[0].title.replace('|', "\\|").replace('<', "&lt;");
        let level = row[0].level.name();
        let _ = writeln!(text, "| `{id}` | {title} ({level}, {}) | {} |", row[0].source, cells.join(" | "));
    }
    text
}

/// Where a page in docs/generated finds the suite's files.
const FILES_FROM_PAGE: &str = "../../conformance/";

/// The table as one HTML page without scripts: boxes to show only what differs, what fails, or one suite; each case links to itself and to
/// its file, and a cell that did not pass opens to what was broken.
pub fn html(columns: &[Column], date: &str) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Cases and servers, {date}</title>\n<style>\n\
         body {{ font: 14px/1.4 sans-serif; margin: 2em }}\ntable {{ border-collapse: collapse }}\n\
         td, th {{ border: 1px solid #ccc; padding: .15em .5em; text-align: left }}\nth {{ position: sticky; top: 0; background: #eee }}\n\
         .ok {{ background: #dfd }} .lenient {{ background: #efd }} .unimplemented {{ background: #eee }}\n\
         .failed {{ background: #fbb }} .ok, .lenient, .unimplemented, .failed {{ text-align: center }}\n\
         summary {{ cursor: pointer }} details p {{ max-width: 24em; text-align: left; margin: .3em }}\n\
         body:has(#differ:checked) tr.alike, body:has(#failing:checked) tr.passing {{ display: none }}\n"
    );
    let suites: BTreeSet<&str> = rows(columns).iter().map(|row| row[0].suite.as_str()).collect();
    for suite in &suites {
        let _ = writeln!(text, "body:has(#only-{suite}:checked) tr.case:not(.suite-{suite}) {{ display: none }}");
    }
    let _ = write!(
        text,
        "</style>\n\
         <h1>Cases and servers, {date}</h1>\n<p>{LEGEND}. Open a cell to see what was broken.</p>\n<table>\n<tr><th>passed"
    );
    for column in columns {
        let _ = write!(text, "<th>{} {}", escaped(&column.run.server), escaped(&column.version));
    }
    text.push('\n');
    for (name, cells) in sums(columns) {
        let _ = writeln!(text, "<tr><td>{name}<td>{}", cells.join("<td>"));
    }
    text.push_str(
        "</table>\n<h2>Each case</h2>\n<form>Show only <label><input type=checkbox id=differ> what differs</label> ",
    );
    text.push_str("<label><input type=checkbox id=failing> what fails somewhere</label>; of ");
    text.push_str("<label><input type=radio name=suite checked> all suites</label>");
    for suite in &suites {
        let _ = write!(text, " <label><input type=radio name=suite id=only-{suite}> {suite}</label>");
    }
    text.push_str("</form>\n<table>\n<tr><th>case<th>rule<th>level<th>source");
    for column in columns {
        let _ = write!(text, "<th>{}", escaped(&column.run.server));
    }
    text.push('\n');
    for row in rows(columns) {
        let case = row[0];
        let level = case.level.name();
        let (id, title, source) = (escaped(&case.id), escaped(&case.title), escaped(&case.source));
        let alike = if row.iter().all(|result| result.verdict == case.verdict) { " alike" } else { "" };
        let passing = if row.iter().all(|result| result.verdict.passes()) { " passing" } else { "" };
        let (suite, file, line) = (&case.suite, escaped(&case.file), case.line);
        let _ = write!(
            text,
            "<tr id=\"{id}\" class=\"case suite-{suite}{alike}{passing}\"><td><a href=\"#{id}\">{id}</a>\
             <td><a href=\"{FILES_FROM_PAGE}{file}#L{line}\">{title}</a><td>{level}<td>{source}"
        );
        for result in row {
            let reasons: String = result.reasons.join("; ").chars().take(300).collect();
            let (name, mark, reasons) = (result.verdict.name(), mark(result.verdict), escaped(&reasons));
            let _ = match reasons.as_str() {
                "" => write!(text, "<td class={name}>{mark}"),
                _ => write!(
                    text,
                    "<td class={name} title=\"{reasons}\"><details><summary>{mark}</summary><p>{reasons}</p></details>"
                ),
            };
        }
        text.push('\n');
    }
    text.push_str("</table>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(server: &str, verdicts: [Verdict; 2]) -> Column {
        let result = |(number, verdict): (usize, Verdict)| CaseResult {
            id: format!("http/t/{number}"),
            file: "cases/http/t.toml".into(),
            line: 7 + number,
            suite: "http".into(),
            title: "a < b".into(),
            level: Level::Must,
            source: String::new(),
            verdict,
            reasons: if verdict.passes() { Vec::new() } else { vec!["the status is <200>".into()] },
            ending: crate::client::Ending::Open,
            exchange: Vec::new(),
            answers: Vec::new(),
            took_ms: 0,
            known: None,
        };
        let results = verdicts.into_iter().enumerate().map(result).collect();
        Column { run: Run { server: server.into(), results, stale: Vec::new() }, version: "1".into() }
    }

    #[test]
    fn the_page_filters_links_and_gives_reasons_without_scripts() {
        let columns = [column("a", [Verdict::Ok, Verdict::Failed]), column("b", [Verdict::Ok, Verdict::Ok])];
        let page = html(&columns, "2026-11-28");
        assert!(page.contains("<tr id=\"http/t/0\" class=\"case suite-http alike passing\">"), "{page}");
        assert!(
            page.contains("<tr id=\"http/t/1\" class=\"case suite-http\"><td><a href=\"#http/t/1\">http/t/1</a>"),
            "{page}"
        );
        assert!(page.contains("<a href=\"../../conformance/cases/http/t.toml#L8\">a &lt; b</a>"), "{page}");
        assert!(page.contains("<details><summary>✗</summary><p>the status is &lt;200&gt;</p></details>"), "{page}");
        for control in
            ["id=differ", "id=failing", "id=only-http", "body:has(#only-http:checked) tr.case:not(.suite-http)"]
        {
            assert!(page.contains(control), "{control}");
        }
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn days_are_dates() {
        for (days, date) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_780, "2026-11-23"), (20_819, "2027-01-01")]
        {
            assert_eq!(date_of(days), date);
        }
    }
}
